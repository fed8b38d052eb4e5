-- A database of schema 2, by .dump of the sqlite3 shell. Never changes.
PRAGMA application_id=1279484268;
PRAGMA user_version=2;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE departures (
	id        INTEGER PRIMARY KEY,
	uid       TEXT NOT NULL UNIQUE,
	at        INTEGER NOT NULL, -- T0 in ns since 1970; of an unknown T0, when the row was first stored
	namespace TEXT NOT NULL,
	workload  TEXT NOT NULL,
	pod       TEXT NOT NULL,
	node      TEXT NOT NULL,
	reason    TEXT NOT NULL,
	episode   INTEGER,
	complete  INTEGER NOT NULL,
	pending   INTEGER NOT NULL,
	settled   INTEGER NOT NULL, -- removals with an outcome: how much the row knows
	last_call REAL,             -- upper end in seconds
	last_node TEXT, last_kind TEXT, last_family TEXT, last_stage TEXT -- the straggler, if there is one
, counted INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO departures VALUES(1,'whole',1793610000000000000,'prod','deployment/shop','shop-whole','node-a','delete',7,1,0,3,4.2000000000000001776,'node-b','kube-proxy','ipv4','program',1);
INSERT INTO departures VALUES(2,'open',1793610060000000000,'prod','deployment/shop','shop-open','node-a','delete',7,0,1,3,NULL,NULL,NULL,NULL,NULL,0);
CREATE TABLE departure_rows (
	id   INTEGER PRIMARY KEY REFERENCES departures ON DELETE CASCADE,
	json BLOB NOT NULL -- without the places, zstd
) STRICT;
INSERT INTO departure_rows VALUES(1,X'28b52ffd44001301050a00825b49215069db004d38e4264a12324b8b18c99231a61b5575f0f8111ba46d096766667502cf17a3d7b29ae7f9a96acc704b8f87fcf24bcc16f8f82ca9553a3e03c821cf68537463c70441f9457aca381a10945798dec93b56e873cbbb541d8f5060caf30da5309a700427df582914da9e3b72d35e9e1f2bc6743aa2bc6229bb981d9f0441e495c5d18020f2adeee495d294784ed5f1e0790ef9e55daaeee41d339d5ed3c743de7152c58e6f2c7463072334cbf3bb94e58e41deed529623cabb5d9dd8255ab7c609f48edf66cf736a4dbb047ac717209408e5002248d061301c01094a9e47ef2890e76da7303e9e1f2bdee7573be5763ceb8503788b99462bc6fbfc6aaba535e3783d787b3dcfdb07eb857b7e9b1dbfddd8f39c943966741dcfaa178ce75769ee04070060b2462734433dd65d79043e3660181deb4ca742950183048b6f');
INSERT INTO departure_rows VALUES(2,X'28b52ffd44004c00610a007b22756964223a226f70656e222c226e616d657370616365223a2270726f64222c22706f64223a2273686f702d6f70656e222c226e6f6465223a226e6f64652d61222c22776f726b6c6f6164223a226465706c6f796d656e742f73686f70222c22726561736f6e223a2264656c657465222c22657069736f6465223a372c227430223a22323032362d31312d30325430393a30313a30305a222c2274305f736f75726365223a22706f64222c2274305f6572726f725f7365636f6e6473223a302c226b696e6473223a5b7b226b696e64223a226b7562652d70726f7879222c22706c61636573223a332c226f7574636f6d6573223a7b226c616e646564223a337d7d5d2c2270656e64696e67223a312c22636f6d706c657465223a66616c73652c226578706563746564223a332c22616e737765726564223a332c226c617465223a22756e6b6e6f776e227da6423ab6');
CREATE TABLE departure_places (
	id   INTEGER PRIMARY KEY REFERENCES departures ON DELETE CASCADE,
	json BLOB -- zstd, NULL if there are none
) STRICT;
INSERT INTO departure_places VALUES(1,X'28b52ffd0400c103007b22736c6f77657374223a5b7b226e6f6465223a226e6f64652d62222c226b696e64223a226b7562652d70726f7879222c2266616d696c79223a2269707634222c226c616e646564223a7b226c6f223a342e312c226869223a342e327d2c22636c6f636b5f6572726f725f7365636f6e6473223a307d5d7dd52a682b');
INSERT INTO departure_places VALUES(2,NULL);
CREATE TABLE episodes (
	id        INTEGER PRIMARY KEY AUTOINCREMENT, -- the number of a deleted episode never comes back
	namespace TEXT NOT NULL,
	workload  TEXT NOT NULL,
	begun     INTEGER NOT NULL,
	ended     INTEGER NOT NULL,
	open      INTEGER NOT NULL,
	json      BLOB NOT NULL
) STRICT;
INSERT INTO episodes VALUES(7,'prod','deployment/shop',1793610000000000000,1793610000000000000,1,X'7b226964223a372c226e616d657370616365223a2270726f64222c22776f726b6c6f6164223a226465706c6f796d656e742f73686f70222c22746167223a22726f6c6c6f7574222c22626567756e223a22323032362d31312d30325430393a30303a30305a222c22656e646564223a22323032362d31312d30325430393a30303a30305a222c226f70656e223a747275652c226c656674223a322c226c617465223a302c22756e6b6e6f776e223a322c2270656e64696e67223a312c226d6f73745f7465726d696e6174696e67223a327d');
CREATE TABLE cursors (
	node    TEXT PRIMARY KEY,
	boot    TEXT NOT NULL,
	next    INTEGER NOT NULL,
	updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO cursors VALUES('node-a','boot-1',42,1793610000000000000);
CREATE TABLE places (
	id     INTEGER PRIMARY KEY,
	node   TEXT NOT NULL,
	kind   TEXT NOT NULL,
	family TEXT NOT NULL,
	UNIQUE (node, kind, family)
) STRICT;
INSERT INTO places VALUES(1,'node-b','kube-proxy','ipv4');
CREATE TABLE place_spans (
	place   INTEGER NOT NULL REFERENCES places ON DELETE CASCADE,
	since   INTEGER NOT NULL, -- s since 1970
	until   INTEGER NOT NULL,
	landed  BLOB NOT NULL,    -- a histogram
	max     REAL NOT NULL,
	last    INTEGER NOT NULL, -- how often it was the straggler
	api     INTEGER NOT NULL, -- of these, mostly by this stage
	watch   INTEGER NOT NULL,
	program INTEGER NOT NULL,
	PRIMARY KEY (place, since)
) STRICT, WITHOUT ROWID;
INSERT INTO place_spans VALUES(1,0,9223372036854775807,X'2201',4.2000000000000001776,1,0,0,1);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('episodes',7);
CREATE INDEX departures_at        ON departures (at);
CREATE INDEX departures_namespace ON departures (namespace, at, reason);
CREATE INDEX departures_workload  ON departures (workload, at, namespace);
CREATE INDEX departures_pod       ON departures (pod, at);
CREATE INDEX departures_node      ON departures (node, at);
CREATE INDEX departures_reason    ON departures (reason, at);
CREATE INDEX departures_last_node ON departures (last_node, at) WHERE last_node IS NOT NULL;
CREATE INDEX departures_episode   ON departures (episode) WHERE episode IS NOT NULL;
CREATE INDEX departures_open      ON departures (at) WHERE complete = 0;
CREATE INDEX episodes_begun     ON episodes (begun);
CREATE INDEX episodes_namespace ON episodes (namespace, begun);
CREATE INDEX episodes_workload  ON episodes (namespace, workload, begun);
CREATE INDEX episodes_ended     ON episodes (ended);
CREATE INDEX episodes_open      ON episodes (begun) WHERE open = 1;
COMMIT;
