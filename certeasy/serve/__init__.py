"""How requests reach us: waitress, TLS in the same process, and an end that loses no answer.

One thread per listener owns every socket and never waits for a client; worker threads run the
application and send what it answers. The road of a connection, file by file:

* `contexts`, `server_names`: certificates become TLS contexts, chosen by the host that a client
  asks for;
* `channel`, `tls_channel`: one connection, in clear or under TLS, and what it is busy with;
* `requests`, `responses`: stricter parsing, an answer in one piece, refusals as JSON;
* `limits`, `places`, `bodies`: how long, how many and how much; who gives way when it is too much;
* `server`, `workers`, `descriptors`: the loop, its deadlines, the threads behind it;
* `listener`, `stopping`: the handles by which the rest of Certeasy starts and ends all this;
* `node`: which does it, for a whole node with its listeners for clients and for administration.
"""
