"""The browser dashboard and the HTTP API: a front end on ``Queue``, beside the command line and the
console.

Pages are rendered on the server and work without JavaScript. Only ``queuectl dashboard`` imports
this package; its libraries are the extra ``web``.
"""
