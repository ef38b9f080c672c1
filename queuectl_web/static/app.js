// Live updates. Everything works without this file.
"use strict";

const live = document.getElementById("live");
const trouble = document.getElementById("trouble");

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

function inUse(element) {
  // Do not replace what a person works with: a marked row, a selection, a focused field.
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) return true;
  if (element.querySelector("input[type=checkbox]:checked")) return true;
  const active = document.activeElement;
  return element.contains(active) && /^(INPUT|TEXTAREA|SELECT)$/.test(active.tagName);
}

function replace(id, html) {
  const element = document.getElementById(id);
  if (!element || inUse(element)) return false;
  const active = document.activeElement;
  const path = element.contains(active) ? pathTo(element, active) : null;
  const scrolled = [...element.querySelectorAll(".scroll, pre")].map((one) => one.scrollLeft);
  element.innerHTML = html;
  element.querySelectorAll(".scroll, pre").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
  if (path) {
    let found = element;
    for (const at of path) found = found && found.children[at];
    if (found && found.focus) found.focus({preventScroll: true});
  }
  return true;
}

function pathTo(root, element) {
  const path = [];
  for (let one = element; one !== root; one = one.parentElement) {
    path.unshift([...one.parentElement.children].indexOf(one));
  }
  return path;
}

function showTrouble(text) {
  if (!trouble) return;
  trouble.hidden = !text;
  trouble.textContent = text ? `The store cannot be read: ${text}. Trying again.` : "";
}

// The page again, for all pages but the overview. At most one request at a time.
let loading = false, again = false, timer = null;
async function reload() {
  if (loading || document.hidden) { again = true; return; }
  loading = true; again = false;
  try {
    const response = await fetch(location.href, {headers: {accept: "text/html"}});
    if (response.status === 401) { location.reload(); return; }
    if (response.status === 404) { say("this was removed"); return; }
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (!fresh || fresh.innerHTML === part.innerHTML) continue;
      if (part.querySelector("[data-follow]") && fresh.querySelector("[data-follow]")) continue;
      if (replace(part.id, fresh.innerHTML)) part.className = fresh.className;
    }
    follow();
  } catch (error) {
    // The server is away. The stream says so.
  } finally {
    loading = false;
    if (again && !document.hidden) timer = timer || setTimeout(() => { timer = null; reload(); }, 1500);
  }
}

function watch(address) {
  const source = new EventSource(address);
  source.onopen = () => say("live");
  source.onerror = () => {
    say("not live: the dashboard does not answer");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
  source.addEventListener("parts", (event) => {
    showTrouble(null);
    for (const [id, html] of Object.entries(JSON.parse(event.data))) replace(id, html);
  });
  source.addEventListener("changed", () => {
    if (!timer) timer = setTimeout(() => { timer = null; reload(); }, 500);
  });
  source.addEventListener("trouble", (event) => showTrouble(JSON.parse(event.data)));
}

// Live output: text is added at the end, and the view stays at the end if it was there.
let following = null;
function follow() {
  const pre = document.querySelector("pre[data-follow]");
  if (!pre || (following && following.pre === pre)) return;
  if (following) following.source.close();
  const source = new EventSource(pre.dataset.follow);
  following = {pre, source};
  pre.scrollTop = pre.scrollHeight;
  source.addEventListener("text", (event) => {
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    const {text, offset} = JSON.parse(event.data);
    pre.append(text);
    pre.dataset.follow = pre.dataset.follow.replace(/offset=\d+/, `offset=${offset}`);
    while (pre.textContent.length > 400000 && pre.firstChild !== pre.lastChild) pre.firstChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  });
  source.addEventListener("end", () => { source.close(); delete pre.dataset.follow; following = null; });
  source.onerror = () => {  // from where we are, not from the start
    source.close(); following = null;
    setTimeout(follow, 2000);
  };
}

document.querySelectorAll("[data-toggle]").forEach((button) => {
  button.addEventListener("click", () => {
    document.querySelectorAll(button.dataset.target).forEach((one) => one.classList.toggle(button.dataset.toggle));
  });
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && again) reload(); });
if (document.body.dataset.stream) watch(document.body.dataset.stream);
follow();
