BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0009');
CREATE TABLE data_indexes (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path TEXT NOT NULL, 
	state TEXT NOT NULL, 
	filled_to VARCHAR(36)
);
INSERT INTO "data_indexes" VALUES(1,'price','ready',NULL);
CREATE TABLE data_keys (
	number INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	extraction_id VARCHAR(36) NOT NULL, 
	CONSTRAINT pk_data_keys PRIMARY KEY (number, "key", extraction_id), 
	CONSTRAINT fk_data_keys_extraction_id_extractions FOREIGN KEY(extraction_id) REFERENCES extractions (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "data_keys" VALUES(1,'4bbf4729nc0418000000000008000','eb506511-2a81-5e58-8b16-a4c1a7e80211');
CREATE TABLE extraction_words (
	number INTEGER NOT NULL, 
	extraction_id VARCHAR(36) NOT NULL, 
	made_by INTEGER NOT NULL, 
	language TEXT NOT NULL, 
	length INTEGER NOT NULL, 
	counts TEXT NOT NULL, 
	tokens TEXT NOT NULL, 
	CONSTRAINT pk_extraction_words PRIMARY KEY (number), 
	CONSTRAINT fk_extraction_words_extraction_id_extractions FOREIGN KEY(extraction_id) REFERENCES extractions (id) ON DELETE CASCADE
);
INSERT INTO "extraction_words" VALUES(1,'eb506511-2a81-5e58-8b16-a4c1a7e80211',201,'en',9,'1111111121','3cms5uno 4cwudg6o 4gxwkg63 5ehx6giz 7nu73xrv czy4k2y5 dy5kv4lq kvycugk5 pucj6leb z5vxn3rp');
INSERT INTO "extraction_words" VALUES(3,'5615c928-9d62-58eb-a726-80594e72fc16',201,'en',8,'1111121','3qn6qmii 732sbue4 p2edxsb2 rbyb7oxp tu55cnph vlgwou3u xocoxo4u');
INSERT INTO "extraction_words" VALUES(4,'e050a8a8-9ace-5f57-a8a2-3c3774cb11a1',201,'en',7,'111121','4rmquo6c mdt4vwns qenmaetr rbyb7oxp vlgwou3u vza6gkwb');
INSERT INTO "extraction_words" VALUES(7,'2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7',201,'en',8,'11112111','l4oyjmvg mguhhwvw qz6w3cow rbyb7oxp vlgwou3u vza6gkwb xspqv27u zwmsihx2');
INSERT INTO "extraction_words" VALUES(8,'26fac4be-abb5-505e-a37e-679507406026',201,'en',7,'1111112','4gyb4bcg 4hiuypnt 4mlgstcb a4d4osva rbyb7oxp tzfcetxv vlgwou3u');
CREATE VIRTUAL TABLE extraction_words_index
USING fts5(tokens, content='extraction_words', content_rowid='number', detail=none, columnsize=0, tokenize='ascii');
CREATE TABLE extractions (
	id VARCHAR(36) NOT NULL, 
	project_id VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	extraction_type TEXT NOT NULL, 
	confidence FLOAT, 
	embedding_id TEXT, 
	set_aside_reason TEXT, 
	created_at DATETIME NOT NULL, 
	data JSON NOT NULL, first_run_id VARCHAR(36), last_run_id VARCHAR(36), metadata JSON, changed_at DATETIME, 
	CONSTRAINT pk_extractions PRIMARY KEY (id), 
	CONSTRAINT fk_extractions_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE, 
	CONSTRAINT fk_extractions_source_id_sources FOREIGN KEY(source_id) REFERENCES sources (id) ON DELETE CASCADE
);
INSERT INTO "extractions" VALUES('eb506511-2a81-5e58-8b16-a4c1a7e80211','4bbf4729-0bcd-5b10-baa2-6356886b011b','023f5965-79cb-5ba4-b575-d3e9fff132e4','offer',NULL,'eb506511-2a81-5e58-8b16-a4c1a7e80211',NULL,'2026-11-28 07:18:03.398490','{"text":"the kettle costs 35 euro","price":35}',NULL,NULL,'{"by":"m-1"}',NULL);
INSERT INTO "extractions" VALUES('5615c928-9d62-58eb-a726-80594e72fc16','298eebe7-64ec-56ce-8bb3-edffb3149030','842d1e69-b9c0-5ef7-910c-c719c3f3ad58','fact',0.5,'5615c928-9d62-58eb-a726-80594e72fc16',NULL,'2026-11-28 07:18:03.469441','{"fact_text":"open from nine to five"}','8c99b2f7-5647-4956-b843-f90947efc08a','cbf7b232-414a-4d85-8f73-8dfc875f03c1',NULL,'2026-11-28 07:18:03.623000');
INSERT INTO "extractions" VALUES('e050a8a8-9ace-5f57-a8a2-3c3774cb11a1','298eebe7-64ec-56ce-8bb3-edffb3149030','842d1e69-b9c0-5ef7-910c-c719c3f3ad58','fact',NULL,'e050a8a8-9ace-5f57-a8a2-3c3774cb11a1',NULL,'2026-11-28 07:18:03.469441','{"fact_text":"in the main street"}','8c99b2f7-5647-4956-b843-f90947efc08a','cbf7b232-414a-4d85-8f73-8dfc875f03c1',NULL,NULL);
INSERT INTO "extractions" VALUES('26fac4be-abb5-505e-a37e-679507406026','298eebe7-64ec-56ce-8bb3-edffb3149030','8a658e9c-2cd4-55c0-9779-ee0338f32b2d','fact',NULL,'26fac4be-abb5-505e-a37e-679507406026',NULL,'2026-11-28 07:18:03.629205','{"fact_text":"a page about nothing"}',NULL,NULL,NULL,NULL);
INSERT INTO "extractions" VALUES('2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7','298eebe7-64ec-56ce-8bb3-edffb3149030','842d1e69-b9c0-5ef7-910c-c719c3f3ad58','fact',NULL,'2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7',NULL,'2026-11-28 07:18:03.629205','{"fact_text":"the bread costs 35 euro"}',NULL,NULL,NULL,NULL);
CREATE TABLE idempotency_keys (
	"key" TEXT NOT NULL, 
	part INTEGER NOT NULL, 
	fingerprint TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	answer JSON NOT NULL, 
	CONSTRAINT pk_idempotency_keys PRIMARY KEY ("key", part)
);
INSERT INTO "idempotency_keys" VALUES('a-key',0,'3da770586b3315b9146787b02b4329dd47e5558202ccc7790f0a672843c33414','2026-11-28 07:18:03.645677','{"replaced":[["842d1e69-b9c0-5ef7-910c-c719c3f3ad58","https://shop.example/a-page-of-prices?lang=de&sort=name",1,1,1,1,false],["8a658e9c-2cd4-55c0-9779-ee0338f32b2d","https://shop.example/gone",1,0,0,0,false]],"job_ids":["71f3fbff-a0a8-48c0-a332-6a22a1e67f88","079cfaf5-977c-4ed6-a0ed-e77ddba1e9ca","bf20c8eb-9893-4186-8533-6023b742b275"]}');
CREATE TABLE index_state (
	id INTEGER NOT NULL, 
	embedder_name TEXT NOT NULL, 
	embedder_version TEXT NOT NULL, 
	dimension INTEGER NOT NULL, 
	rebuilding BOOLEAN NOT NULL, generation INTEGER DEFAULT '0' NOT NULL, texts TEXT DEFAULT 'version 1' NOT NULL, 
	CONSTRAINT pk_index_state PRIMARY KEY (id), 
	CONSTRAINT ck_index_state_ck_index_state_single_row CHECK (id = 1)
);
INSERT INTO "index_state" VALUES(1,'deterministic','1',32,0,0,'version 2, text_fields ["fact_text", "text", "summary"]');
CREATE TABLE job_totals (
	type TEXT NOT NULL, 
	status TEXT NOT NULL, 
	jobs BIGINT NOT NULL, 
	timed BIGINT NOT NULL, 
	microseconds BIGINT NOT NULL, 
	least BIGINT, 
	greatest BIGINT, 
	CONSTRAINT pk_job_totals PRIMARY KEY (type, status)
);
INSERT INTO "job_totals" VALUES('index_data','completed',1,1,14000,14000,14000);
INSERT INTO "job_totals" VALUES('embed','completed',4,4,41000,7000,14000);
INSERT INTO "job_totals" VALUES('update_payload','completed',2,2,19000,8000,11000);
INSERT INTO "job_totals" VALUES('delete_vectors','completed',2,2,26000,6000,20000);
CREATE TABLE jobs (
	id VARCHAR(36) NOT NULL, 
	type TEXT NOT NULL, 
	status TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	lease_expires_at DATETIME, 
	cancel_requested_at DATETIME, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	started_at DATETIME, 
	completed_at DATETIME, 
	payload JSON NOT NULL, 
	result JSON, 
	error TEXT, run_at DATETIME DEFAULT '1970-01-01 00:00:00.000000+00:00' NOT NULL, failures INTEGER DEFAULT '0' NOT NULL, lapses INTEGER DEFAULT '0' NOT NULL, unique_key TEXT, project_id VARCHAR(36), done INTEGER DEFAULT '0' NOT NULL, total INTEGER, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT ck_jobs_ck_jobs_status CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelling', 'cancelled'))
);
INSERT INTO "jobs" VALUES('cd171583-83ce-4236-a355-9a5db4f4148e','index_data','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.347000','2026-11-28 07:18:03.504000','2026-11-28 07:18:03.490000','2026-11-28 07:18:03.504000','{"number":1}','{"done":5}',NULL,'2026-11-28 07:18:03.347000',0,0,NULL,NULL,5,5);
INSERT INTO "jobs" VALUES('58b01545-f4b6-4f5a-aa6f-ccfb9482c8e1','embed','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.446000','2026-11-28 07:18:03.518000','2026-11-28 07:18:03.507000','2026-11-28 07:18:03.518000','{"extraction_ids":["eb506511-2a81-5e58-8b16-a4c1a7e80211"]}','{"indexed":1,"set_aside":0,"cut":0}',NULL,'2026-11-28 07:18:03.446000',0,0,NULL,'4bbf4729-0bcd-5b10-baa2-6356886b011b',1,1);
INSERT INTO "jobs" VALUES('a2824b67-445e-4196-b251-1c4d0f33e9ca','embed','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.473000','2026-11-28 07:18:03.529000','2026-11-28 07:18:03.520000','2026-11-28 07:18:03.529000','{"extraction_ids":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","5615c928-9d62-58eb-a726-80594e72fc16","e050a8a8-9ace-5f57-a8a2-3c3774cb11a1","26fac4be-abb5-505e-a37e-679507406026"]}','{"indexed":4,"set_aside":0,"cut":0}',NULL,'2026-11-28 07:18:03.473000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',4,4);
INSERT INTO "jobs" VALUES('c3818dca-5bcf-4f3d-997c-b6b3f174a2e1','update_payload','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.544000','2026-11-28 07:18:03.570000','2026-11-28 07:18:03.559000','2026-11-28 07:18:03.570000','{"extraction_ids":["5615c928-9d62-58eb-a726-80594e72fc16"]}','{"updated":1}',NULL,'2026-11-28 07:18:03.544000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',1,1);
INSERT INTO "jobs" VALUES('b2094e48-9f1f-497e-93e0-c5a8b4da1f3c','embed','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.547000','2026-11-28 07:18:03.586000','2026-11-28 07:18:03.572000','2026-11-28 07:18:03.586000','{"extraction_ids":["e26bc21f-62ce-5ba0-baf8-ddb91e4a328e"]}','{"indexed":1,"set_aside":0,"cut":0}',NULL,'2026-11-28 07:18:03.547000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',1,1);
INSERT INTO "jobs" VALUES('e19edfe2-0999-43eb-9d57-ed09a85c5473','delete_vectors','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.549000','2026-11-28 07:18:03.607000','2026-11-28 07:18:03.587000','2026-11-28 07:18:03.607000','{"extraction_ids":["26fac4be-abb5-505e-a37e-679507406026","2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7"]}','{"deleted":2}',NULL,'2026-11-28 07:18:03.549000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',2,2);
INSERT INTO "jobs" VALUES('71f3fbff-a0a8-48c0-a332-6a22a1e67f88','update_payload','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.628000','2026-11-28 07:18:03.656000','2026-11-28 07:18:03.648000','2026-11-28 07:18:03.656000','{"extraction_ids":["5615c928-9d62-58eb-a726-80594e72fc16"]}','{"updated":1}',NULL,'2026-11-28 07:18:03.628000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',1,1);
INSERT INTO "jobs" VALUES('bf20c8eb-9893-4186-8533-6023b742b275','embed','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.631000','2026-11-28 07:18:03.665000','2026-11-28 07:18:03.658000','2026-11-28 07:18:03.665000','{"extraction_ids":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","26fac4be-abb5-505e-a37e-679507406026"]}','{"indexed":2,"set_aside":0,"cut":0}',NULL,'2026-11-28 07:18:03.631000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',2,2);
INSERT INTO "jobs" VALUES('079cfaf5-977c-4ed6-a0ed-e77ddba1e9ca','delete_vectors','completed',0,1,NULL,NULL,'2026-11-28 07:18:03.641000','2026-11-28 07:18:03.673000','2026-11-28 07:18:03.667000','2026-11-28 07:18:03.673000','{"extraction_ids":["e26bc21f-62ce-5ba0-baf8-ddb91e4a328e"]}','{"deleted":1}',NULL,'2026-11-28 07:18:03.641000',0,0,NULL,'298eebe7-64ec-56ce-8bb3-edffb3149030',1,1);
INSERT INTO "jobs" VALUES('f7924646-c0f9-4371-bb02-479361195476','verify','queued',0,0,NULL,NULL,'2026-11-28 07:18:03.686000','2026-11-28 07:18:03.686000',NULL,NULL,'{"project":"shop"}',NULL,NULL,'2026-11-28 07:18:03.686000',0,0,'verify:shop','4bbf4729-0bcd-5b10-baa2-6356886b011b',0,NULL);
CREATE TABLE ledger (
	project_id VARCHAR(36) NOT NULL, 
	number BIGINT NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	run_id VARCHAR(36), 
	at DATETIME NOT NULL, 
	added INTEGER NOT NULL, 
	changed INTEGER NOT NULL, 
	removed INTEGER NOT NULL, 
	size INTEGER NOT NULL, 
	changes JSON NOT NULL, 
	CONSTRAINT pk_ledger PRIMARY KEY (project_id, number)
)
 WITHOUT ROWID

;
INSERT INTO "ledger" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030',1,'842d1e69-b9c0-5ef7-910c-c719c3f3ad58','8c99b2f7-5647-4956-b843-f90947efc08a','2026-11-28 07:18:03.474000',3,0,0,120,'{"new":true,"added":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","5615c928-9d62-58eb-a726-80594e72fc16","e050a8a8-9ace-5f57-a8a2-3c3774cb11a1"],"observed_at":[null,"2026-11-28T07:18:03.467762+00:00"]}');
INSERT INTO "ledger" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030',2,'8a658e9c-2cd4-55c0-9779-ee0338f32b2d','8c99b2f7-5647-4956-b843-f90947efc08a','2026-11-28 07:18:03.474000',1,0,0,40,'{"new":true,"added":["26fac4be-abb5-505e-a37e-679507406026"],"observed_at":[null,"2026-11-28T07:18:03.467762+00:00"]}');
INSERT INTO "ledger" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030',3,'842d1e69-b9c0-5ef7-910c-c719c3f3ad58','cbf7b232-414a-4d85-8f73-8dfc875f03c1','2026-11-28 07:18:03.550000',1,1,1,491,'{"added":["e26bc21f-62ce-5ba0-baf8-ddb91e4a328e"],"changed":{"5615c928-9d62-58eb-a726-80594e72fc16":{"confidence":0.5,"metadata":null}},"removed":[{"id":"2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","extraction_type":"fact","confidence":null,"metadata":null,"created_at":"2026-11-28T07:18:03.469441+00:00","first_run_id":"8c99b2f7-5647-4956-b843-f90947efc08a","last_run_id":"8c99b2f7-5647-4956-b843-f90947efc08a","changed_at":null,"data":{"fact_text":"the bread costs 35 euro"}}],"asserted":{"8c99b2f7-5647-4956-b843-f90947efc08a":["5615c928-9d62-58eb-a726-80594e72fc16","e050a8a8-9ace-5f57-a8a2-3c3774cb11a1"]},"observed_at":["2026-11-28T07:18:03.467762+00:00","2026-11-28T07:18:03.540967+00:00"]}');
INSERT INTO "ledger" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030',4,'8a658e9c-2cd4-55c0-9779-ee0338f32b2d','cbf7b232-414a-4d85-8f73-8dfc875f03c1','2026-11-28 07:18:03.550000',0,0,1,328,'{"removed":[{"id":"26fac4be-abb5-505e-a37e-679507406026","extraction_type":"fact","confidence":null,"metadata":null,"created_at":"2026-11-28T07:18:03.469441+00:00","first_run_id":"8c99b2f7-5647-4956-b843-f90947efc08a","last_run_id":"8c99b2f7-5647-4956-b843-f90947efc08a","changed_at":null,"data":{"fact_text":"a page about nothing"}}],"observed_at":["2026-11-28T07:18:03.467762+00:00","2026-11-28T07:18:03.540967+00:00"]}');
INSERT INTO "ledger" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030',5,'842d1e69-b9c0-5ef7-910c-c719c3f3ad58',NULL,'2026-11-28 07:18:03.642000',1,1,1,411,'{"added":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7"],"changed":{"5615c928-9d62-58eb-a726-80594e72fc16":{"confidence":0.9,"metadata":null}},"removed":[{"id":"e26bc21f-62ce-5ba0-baf8-ddb91e4a328e","extraction_type":"fact","confidence":null,"metadata":null,"created_at":"2026-11-28T07:18:03.545187+00:00","first_run_id":"cbf7b232-414a-4d85-8f73-8dfc875f03c1","last_run_id":"cbf7b232-414a-4d85-8f73-8dfc875f03c1","changed_at":null,"data":{"fact_text":"the bread costs 36 euro"}}],"observed_at":["2026-11-28T07:18:03.540967+00:00","2026-11-28T07:18:03.623079+00:00"]}');
INSERT INTO "ledger" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030',6,'8a658e9c-2cd4-55c0-9779-ee0338f32b2d',NULL,'2026-11-28 07:18:03.642000',1,0,0,40,'{"added":["26fac4be-abb5-505e-a37e-679507406026"],"observed_at":["2026-11-28T07:18:03.540967+00:00","2026-11-28T07:18:03.623079+00:00"]}');
INSERT INTO "ledger" VALUES('4bbf4729-0bcd-5b10-baa2-6356886b011b',1,'023f5965-79cb-5ba4-b575-d3e9fff132e4',NULL,'2026-11-28 07:18:03.447000',1,0,0,40,'{"new":true,"added":["eb506511-2a81-5e58-8b16-a4c1a7e80211"]}');
CREATE TABLE paused_job_types (
	type TEXT NOT NULL, 
	paused_at DATETIME NOT NULL, 
	CONSTRAINT pk_paused_job_types PRIMARY KEY (type)
);
INSERT INTO "paused_job_types" VALUES('verify','2026-11-28 07:18:03.677861');
CREATE TABLE projects (
	id VARCHAR(36) NOT NULL, 
	name TEXT NOT NULL, 
	created_at DATETIME NOT NULL, last_change BIGINT DEFAULT '0' NOT NULL, pruned_through BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_projects PRIMARY KEY (id), 
	CONSTRAINT uq_projects_name UNIQUE (name)
);
INSERT INTO "projects" VALUES('4bbf4729-0bcd-5b10-baa2-6356886b011b','shop','2026-11-28 07:18:03.394003',1,0);
INSERT INTO "projects" VALUES('298eebe7-64ec-56ce-8bb3-edffb3149030','default','2026-11-28 07:18:03.456623',6,0);
CREATE TABLE runs (
	id VARCHAR(36) NOT NULL, 
	project_id VARCHAR(36) NOT NULL, 
	name TEXT NOT NULL, 
	begun_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	undoes VARCHAR(36), 
	first_change BIGINT, 
	added BIGINT NOT NULL, 
	changed BIGINT NOT NULL, 
	unchanged BIGINT NOT NULL, 
	removed BIGINT NOT NULL, 
	metadata JSON, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT fk_runs_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
INSERT INTO "runs" VALUES('8c99b2f7-5647-4956-b843-f90947efc08a','298eebe7-64ec-56ce-8bb3-edffb3149030','monday','2026-11-28 07:18:03.458000','2026-11-28 07:18:03.484000',NULL,1,4,0,0,0,'{"model":"m-1","temperature":0}');
INSERT INTO "runs" VALUES('cbf7b232-414a-4d85-8f73-8dfc875f03c1','298eebe7-64ec-56ce-8bb3-edffb3149030','tuesday','2026-11-28 07:18:03.535000','2026-11-28 07:18:03.556000',NULL,3,1,1,1,2,'{"model":"m-1","temperature":0}');
CREATE TABLE "sources" (
	id VARCHAR(36) NOT NULL, 
	project_id VARCHAR(36) NOT NULL, 
	uri TEXT NOT NULL, 
	source_group TEXT, 
	created_at DATETIME NOT NULL, observed_at DATETIME, 
	CONSTRAINT pk_sources PRIMARY KEY (id), 
	CONSTRAINT fk_sources_project_id_projects FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
INSERT INTO "sources" VALUES('023f5965-79cb-5ba4-b575-d3e9fff132e4','4bbf4729-0bcd-5b10-baa2-6356886b011b','https://shop.example/kettle',NULL,'2026-11-28 07:18:03.397223',NULL);
INSERT INTO "sources" VALUES('842d1e69-b9c0-5ef7-910c-c719c3f3ad58','298eebe7-64ec-56ce-8bb3-edffb3149030','https://shop.example/a-page-of-prices?lang=de&sort=name','shops','2026-11-28 07:18:03.464742','2026-11-28 07:18:03.623079');
INSERT INTO "sources" VALUES('8a658e9c-2cd4-55c0-9779-ee0338f32b2d','298eebe7-64ec-56ce-8bb3-edffb3149030','https://shop.example/gone',NULL,'2026-11-28 07:18:03.464742','2026-11-28 07:18:03.623079');
CREATE TABLE store_identity (
	id INTEGER NOT NULL, 
	store_id VARCHAR(36) NOT NULL, 
	CONSTRAINT pk_store_identity PRIMARY KEY (id), 
	CONSTRAINT ck_store_identity_single_row CHECK (id = 1)
);
INSERT INTO "store_identity" VALUES(1,'b9a0e6f9-3957-4a40-a980-ed9d0e8e3341');
CREATE INDEX ix_extractions_project_id_id ON extractions (project_id, id);
CREATE INDEX ix_extractions_source_id ON extractions (source_id);
CREATE INDEX ix_extractions_orphaned ON extractions (id) WHERE embedding_id IS NULL AND set_aside_reason IS NULL;
CREATE INDEX ix_extractions_set_aside ON extractions (id) WHERE set_aside_reason IS NOT NULL;
CREATE INDEX ix_jobs_type_status ON jobs (type, status);
CREATE INDEX ix_jobs_open ON jobs (priority DESC, run_at) WHERE status IN ('queued', 'running', 'cancelling');
CREATE INDEX ix_jobs_finished ON jobs (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX uq_jobs_unique_key ON jobs (unique_key) WHERE unique_key IS NOT NULL AND status IN ('queued', 'running', 'cancelling');
CREATE INDEX ix_jobs_created_at_id ON jobs (created_at, id);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
CREATE INDEX ix_sources_project_id_source_group ON sources (project_id, source_group);
CREATE INDEX ix_runs_project_id_begun_at_id ON runs (project_id, begun_at, id);
CREATE INDEX ix_ledger_source_id_number ON ledger (source_id, number);
CREATE INDEX ix_ledger_run_id ON ledger (run_id, number) WHERE run_id IS NOT NULL;
CREATE INDEX ix_ledger_removing ON ledger (project_id, number) WHERE removed > 0;
CREATE UNIQUE INDEX ix_extraction_words_extraction_id ON extraction_words (extraction_id);
CREATE TRIGGER extraction_words_added AFTER INSERT ON extraction_words BEGIN
    INSERT INTO extraction_words_index (rowid, tokens) VALUES (new.number, new.tokens);
END;
CREATE TRIGGER extraction_words_removed AFTER DELETE ON extraction_words BEGIN
    INSERT INTO extraction_words_index (extraction_words_index, rowid, tokens)
    VALUES ('delete', old.number, old.tokens);
END;
CREATE INDEX ix_extractions_project_id_created_at_id ON extractions (project_id, created_at, id);
CREATE INDEX ix_data_keys_extraction_id ON data_keys (extraction_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('data_indexes',1);
INSERT INTO extraction_words_index (extraction_words_index) VALUES ('rebuild');
COMMIT;
