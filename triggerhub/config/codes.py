"""Explain the codes of problems, for ``triggerhub explain CODE``: those of the hub's own sources too."""

from __future__ import annotations

CODES: dict[str, str] = {
    "no-project": "There is no triggerhub.toml in the folder. `triggerhub init DIR` writes one.",
    "unreadable": "The user that the hub runs as cannot read a file or folder, or cannot write the data folder.",
    "too-large": "The file is over 1 MB.",
    "too-many": "There are so many mistakes in one table that only the first are told.",
    "too-deep": "Keys or values are nested so deeply that reading them would take too long.",
    "syntax": "The text is not TOML at this place. Nothing else can be checked before it is.",
    "unknown-key": "There is no such key or table. A misspelt key would otherwise be ignored in silence.",
    "missing-key": "The table needs this key.",
    "wrong-type": "The value is of another type.",
    "bad-choice": "The value is none of those that there are.",
    "bad-value": "The value is of the right type, but cannot be used.",
    "bad-unit": "Durations, sizes and rates are words in quotes: \"500ms\", \"1h30m\", \"256MB\", \"50/s\".",
    "bad-name": "Functions and triggers are named with letters, digits, '-' and '_', at most 64 characters.",
    "bad-secret": (
        "A secret is written by reference: { secret = \"NAME\" } is looked for in the environment, in systemd's "
        "credentials, then in secrets/NAME of the data folder; { file = \"PATH\" } is read."
    ),
    "exposed-secret": "Others than its owner may read the file of a secret, or it stands where it is shown.",
    "not-available": "The setting is known, but not in this version. It is refused so that nobody relies on it.",
    "open-admin": "Whoever reaches the admin address may do everything. Beyond this machine it asks who they are.",
    "same-port": "Webhooks and administration need addresses of their own.",
    "bad-folder": "The handlers, the data and the project's sources need folders of their own within the project.",
    "bad-user": (
        "Started by root, the hub becomes [hub] user before it listens. It has to be an ordinary user of this machine; "
        "only root can become another."
    ),
    "bad-timezone": "There is no such time zone in the system's data base.",
    "no-file": "A file that is named is not there, cannot be read, or is a folder.",
    "duplicate-function": "Two files of the handlers folder would be the same function.",
    "ignored-file": "What lies in the handlers folder is no function: of no known kind, or without an entry.",
    "no-handler": "There is no file where the function's code should be.",
    "bad-handler": "The file is there, but cannot be what runs the function.",
    "pinned-version": (
        "`triggerhub functions rollback` pinned the function to an earlier version. That runs, and what lies in the "
        "handlers folder does not, until the function's files change."
    ),
    "heavy-code": (
        "A function's code is larger than Lambda takes. The hub hashes it at each reading, and keeps a copy of every "
        "version."
    ),
    "no-program": "The program that runs the function is not installed on this host.",
    "bad-runtime": "There is no runtime of that name, or the path leads to no interpreter that runs handlers.",
    "bad-dependencies": "What a function depends on is written in a way that the installer cannot read.",
    "bad-layer": "A layer is not there, cannot be read, or is an archive that must not be unpacked.",
    "no-opt": "At level trusted a function has no file system of its own, in which layers would be at /opt.",
    "no-extensions": "Extensions speak to the Runtime API, which only a bootstrap has.",
    "bad-metadata": "The inline metadata of a handler (PEP 723) cannot be used.",
    "bad-sandbox": (
        "What a handler is to see or to have cannot be given: it is the hub's own or a sandbox's, or there is no "
        "sandbox to hold it. Functions see the folder of their `files` trigger, so that this holds for it, too."
    ),
    "loose-link": (
        "A path that a handler is to see leads through a link in a folder that a function may write. Who may write "
        "there chooses what lies behind it, so that it is not followed, and calls fail until the link is gone. "
        "Or a file that the hub writes lies there."
    ),
    "no-path": "A path that a handler is to see is not there, so that its calls fail until it is.",
    "open-socket": (
        "A folder that a handler is to see has a socket in it. Sight is enough to speak to who listens there, whatever "
        "the function's network is."
    ),
    "no-isolation": (
        "This host cannot isolate the function as its level asks, so that the hub will not run it: `triggerhub doctor`."
    ),
    "wrong-python": "The handler asks for another Python than the one that runs it.",
    "outside": "A path leads to a place that it must not lead to.",
    "much-memory": "A function may use more memory than this host has.",
    "bad-warm": "More workers would be kept than may run at once, or the function has no workers that could be kept.",
    "bad-reuse": "The runtime cannot do with its workers between two calls what is asked for.",
    "bad-retry": "The first wait is longer than the longest.",
    "bad-key": (
        "A dedup key or an order is header:NAME or a JSONPath (RFC 9535), like $.order.id; a public key is PEM."
    ),
    "bad-filter": "The filter is not an EventBridge pattern at this place.",
    "bad-batch": "The settings of the batch contradict one another, or the source cannot do it.",
    "bad-ack": (
        "\"stored\": the source forgets an event once it is committed. \"handled\": once its one function is done "
        "with it; then the source keeps order and backlog. Not every source has both."
    ),
    "bad-tumbling": (
        "A tumbling window hands the state that one call answers to the next: a shard's calls come one after the "
        "other, and the function must see the event itself."
    ),
    "bad-functions": "A trigger starts one function or a list of different ones.",
    "unknown-function": "There is no function of this name.",
    "unknown-type": "There is no source of this name, neither the hub's own nor in the project's sources folder.",
    "bad-source": "The source's module cannot be imported, or is not a source.",
    "duplicate-source": "A module in the project's sources folder has the name of one of the hub's own.",
    "foreign-sources": "A Python package called sources hides the hub's own.",
    "duplicate-route": "Two webhooks would answer the same method and path.",
    "duplicate-queue": "A queue has one trigger that consumes it, which may start several functions.",
    "unconsumed-queue": "What is sent to this queue would never be run: no trigger consumes it.",
    "bad-url": "A destination webhook:URL needs a complete URL without a password.",
    "loop": "What is configured would start itself for ever.",
    "not-reachable": "check --online could not reach what a trigger takes its events from, for the reason it gives.",
    # What the sources find.
    "bad-alarm": "The alarm could not see what its sentence asks for, or asks for what cannot happen.",
    "bad-cron": (
        "The schedule is none: five fields (minute, hour, day of month, month, day of week) like 0 2 * * mon-fri, with "
        "seconds_first the seconds before them; or @daily and the like; or AWS's cron(…), rate(…), at(…). The message "
        "names the field that is wrong, and docs/cron.md has tables of what each may hold."
    ),
    "cron-unused": (
        "A form of schedule that has no use for the option: seconds_first is of schedules in fields of their own, and "
        "rate(…), which counts from when it was first seen, knows no clock and so no timezone."
    ),
    "cron-over": "The schedule names a time that has passed, or a day that does not come: the trigger does nothing.",
    "files-path": "The files trigger watches a folder and what is in it; this path is a file.",
    "cron-step": "A step or range of the schedule does not do what it seems to, such as */90 in the minutes.",
    "cron-both-days": (
        "Day of month and day of week are both set: cron runs when either matches. Leave one of them *."
    ),
    "bad-path": "A route's path begins with a slash, and a {name} stands for one whole part of it.",
    "cors-credentials": "Browsers refuse credentials together with the origin \"*\".",
    "cors-origin": "An origin is scheme, host and maybe a port, in small letters, with no path and no \"*\" in it.",
    "duplicate-secret": "A secret that is given twice shows that the new one was not put in.",
    "missing-extra": "The algorithm needs an optional package: pip install triggerhub[jwt].",
    "no-key": "A token cannot be verified without a key for its algorithm.",
    "result-fan-out": "A caller can wait for one function only.",
    "result-no-queue": "With respond = \"result\" there is no queue, so what concerns the queue does nothing.",
    "bucket-mode": "A bucket tells by a queue, or it is listed: each has options that the other has no use for.",
    "bad-region": "The queue, stream or bucket names another region than the trigger.",
    "no-headers": "The messages of a queue have no headers that a key could be read from.",
    "files-reconcile": "The folder must be compared at most as often as its files come to rest.",
    "files-existing": "Existing files are told as created, which the trigger's events leave out.",
    "files-excluded": "What include names is left out by exclude again.",
}  # fmt: skip
