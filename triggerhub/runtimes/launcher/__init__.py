"""Make sandboxes: a small process that the hub executes and asks for isolated workers.

Standard library only, one thread, no secrets. Read in this order: ``plan`` (what is asked for),
``serve`` (the process), ``init`` (process 1 of a sandbox), ``root`` (what it sees), ``confine``
(what it may), ``inside`` (where the user's code begins), ``kernel`` (the calls Python has no name for);
``bare`` stands in for ``init`` and ``root`` where there are no namespaces; ``pasta`` gives a sandbox a network;
``groups`` are those of control; ``keep`` and ``floor`` are there where the launcher is root and the hub is not.
"""
