// Live updates. Everything works without this file.
"use strict";

const live = document.getElementById("live");
const trouble = document.getElementById("trouble");

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

function showTrouble(text) {
  if (!trouble) return;
  trouble.hidden = !text;
  trouble.textContent = text ? `The store cannot be read: ${text}. Trying again.` : "";
}

// -- parts of the page ----------------------------------------------------------------------

function inUse(element) {
  // Do not replace what a person works with: a marked row, a selection, what has the focus.
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) return true;
  if (element.querySelector("input[type=checkbox]:checked")) return true;
  const active = document.activeElement;
  if (!element.contains(active) || active.type === "checkbox") return false;
  return /^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(active.tagName);
}

const waiting = new Map();  // id -> [html, class]: parts that were in use when they changed

function replace(id, html, name) {
  const element = document.getElementById(id);
  if (!element) return;
  if (inUse(element)) { waiting.set(id, [html, name]); return; }
  waiting.delete(id);
  const active = document.activeElement;
  const had = element.contains(active) && identity(active);
  const scrolled = [...element.querySelectorAll(".scroll, pre")].map((one) => one.scrollLeft);
  element.innerHTML = html;
  if (name !== undefined) element.className = name;
  element.querySelectorAll(".scroll, pre").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
  if (had) {  // the same link or box, wherever it is now
    const same = [...element.querySelectorAll("a, input")].find((one) => identity(one) === had);
    if (same) same.focus({preventScroll: true});
  }
}

function identity(element) {
  return element.getAttribute("href") || `${element.name} ${element.value}`;
}

function replaceWaiting() {
  for (const [id, [html, name]] of [...waiting]) replace(id, html, name);
  follow();
}
for (const event of ["change", "focusout", "selectionchange"]) {
  document.addEventListener(event, () => { if (waiting.size) setTimeout(replaceWaiting, 50); });
}

// -- the page again, for all pages but the overview: one request at a time -------------------

let loading = false, again = false, timer = null;
function reloadSoon() {
  if (!timer) timer = setTimeout(() => { timer = null; reload(); }, 500);
}
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
      if (!fresh) continue;
      if (fresh.innerHTML === part.innerHTML) { waiting.delete(part.id); continue; }
      const follows = part.querySelector("[data-follow]");
      if (follows && fresh.querySelector("[data-follow]")) continue;
      replace(part.id, fresh.innerHTML, fresh.className);
    }
    follow();
  } catch (error) {
    // The server is away. The stream says so.
  } finally {
    loading = false;
    if (again && !document.hidden) reloadSoon();
  }
}

// -- streams: only while the page can be seen, because a browser opens few to one server ------

let source = null, retry = null;
function watch() {
  const address = document.body.dataset.stream;
  if (!address || document.hidden || source) return;
  source = new EventSource(address);
  source.onopen = () => say("live");
  source.onerror = () => {
    say("not live: the dashboard does not answer");
    if (source && source.readyState === EventSource.CLOSED) {  // refused: try later
      unwatch();
      retry = setTimeout(async () => {
        const response = await fetch("/", {method: "HEAD"}).catch(() => null);
        if (response && response.status === 401) location.reload(); else watch();
      }, 5000);
    }
  };
  source.addEventListener("parts", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) replace(id, html);
  });
  source.addEventListener("changed", (event) => {
    document.body.dataset.stream = address.replace(/since=\d+/, `since=${event.data}`);
    reloadSoon();
  });
  source.addEventListener("trouble", (event) => showTrouble(JSON.parse(event.data)));
}

function unwatch() {
  if (source) source.close();
  source = null;
  clearTimeout(retry);
}

// Live output: text is added at the end, and the view stays at the end if it was there.
let following = null;
function follow() {
  const pre = document.querySelector("pre[data-follow]");
  if (!pre || document.hidden || (following && following.pre === pre)) return;
  unfollow();
  const output = new EventSource(pre.dataset.follow);
  following = {pre, output};
  pre.scrollTop = pre.scrollHeight;
  output.addEventListener("text", (event) => {
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    const {text, offset} = JSON.parse(event.data);
    const empty = pre.parentElement.querySelector(".empty");
    if (empty) empty.remove();
    pre.append(text);
    pre.dataset.follow = pre.dataset.follow.replace(/offset=\d+/, `offset=${offset}`);
    while (pre.textContent.length > 400000 && pre.firstChild !== pre.lastChild) pre.firstChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  });
  output.addEventListener("end", () => { unfollow(); delete pre.dataset.follow; reloadSoon(); });
  output.onerror = () => {  // from where we are, not from the start
    unfollow();
    setTimeout(follow, 2000);
  };
}

function unfollow() {
  if (following) following.output.close();
  following = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) { unwatch(); unfollow(); return; }
  watch();
  follow();
  if (again) reload();
});
if (document.body.dataset.retry !== undefined) {  // the store could not be read
  setInterval(async () => {
    const response = document.hidden ? null : await fetch("/readyz").catch(() => null);
    if (response && response.ok) location.reload();
  }, 3000);
}
watch();
follow();
