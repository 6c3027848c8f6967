--
-- PostgreSQL database dump
--


-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: data_indexes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.data_indexes (
    number integer NOT NULL,
    path text NOT NULL,
    state text NOT NULL,
    filled_to uuid
);


--
-- Name: data_indexes_number_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.data_indexes_number_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: data_indexes_number_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.data_indexes_number_seq OWNED BY public.data_indexes.number;


--
-- Name: data_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.data_keys (
    number integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    extraction_id uuid NOT NULL
);


--
-- Name: extraction_words; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.extraction_words (
    number bigint NOT NULL,
    extraction_id uuid NOT NULL,
    made_by integer NOT NULL,
    language text NOT NULL,
    length integer NOT NULL,
    counts text NOT NULL,
    tokens tsvector NOT NULL
);


--
-- Name: extraction_words_number_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.extraction_words_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: extraction_words_number_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.extraction_words_number_seq OWNED BY public.extraction_words.number;


--
-- Name: extractions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.extractions (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    source_id uuid NOT NULL,
    extraction_type text NOT NULL,
    confidence double precision,
    embedding_id text,
    set_aside_reason text,
    created_at timestamp with time zone NOT NULL,
    data json NOT NULL,
    first_run_id uuid,
    last_run_id uuid,
    metadata json,
    changed_at timestamp with time zone
);


--
-- Name: idempotency_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.idempotency_keys (
    key text NOT NULL,
    part integer NOT NULL,
    fingerprint text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    answer json NOT NULL
);


--
-- Name: index_state; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.index_state (
    id integer NOT NULL,
    embedder_name text NOT NULL,
    embedder_version text NOT NULL,
    dimension integer NOT NULL,
    rebuilding boolean NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    texts text DEFAULT 'version 1'::text NOT NULL,
    CONSTRAINT ck_index_state_ck_index_state_single_row CHECK ((id = 1))
);


--
-- Name: job_totals; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_totals (
    type text NOT NULL,
    status text NOT NULL,
    jobs bigint NOT NULL,
    timed bigint NOT NULL,
    microseconds bigint NOT NULL,
    "least" bigint,
    "greatest" bigint
);


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs (
    id uuid NOT NULL,
    type text NOT NULL,
    status text NOT NULL,
    priority integer NOT NULL,
    attempt integer NOT NULL,
    lease_expires_at timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    payload json NOT NULL,
    result json,
    error text,
    run_at timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    lapses integer DEFAULT 0 NOT NULL,
    unique_key text,
    project_id uuid,
    done integer DEFAULT 0 NOT NULL,
    total integer,
    CONSTRAINT ck_jobs_ck_jobs_status CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelling'::text, 'cancelled'::text])))
);


--
-- Name: ledger; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.ledger (
    project_id uuid NOT NULL,
    number bigint NOT NULL,
    source_id uuid NOT NULL,
    run_id uuid,
    at timestamp with time zone NOT NULL,
    added integer NOT NULL,
    changed integer NOT NULL,
    removed integer NOT NULL,
    size integer NOT NULL,
    changes json NOT NULL
);


--
-- Name: paused_job_types; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.paused_job_types (
    type text NOT NULL,
    paused_at timestamp with time zone NOT NULL
);


--
-- Name: projects; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.projects (
    id uuid NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    last_change bigint DEFAULT '0'::bigint NOT NULL,
    pruned_through bigint DEFAULT '0'::bigint NOT NULL
);


--
-- Name: runs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.runs (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    begun_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    undoes uuid,
    first_change bigint,
    added bigint NOT NULL,
    changed bigint NOT NULL,
    unchanged bigint NOT NULL,
    removed bigint NOT NULL,
    metadata json
);


--
-- Name: sources; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.sources (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    uri text NOT NULL,
    source_group text,
    created_at timestamp with time zone NOT NULL,
    observed_at timestamp with time zone
);


--
-- Name: store_identity; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.store_identity (
    id integer NOT NULL,
    store_id uuid NOT NULL,
    CONSTRAINT ck_store_identity_single_row CHECK ((id = 1))
);


--
-- Name: data_indexes number; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.data_indexes ALTER COLUMN number SET DEFAULT nextval('public.data_indexes_number_seq'::regclass);


--
-- Name: extraction_words number; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.extraction_words ALTER COLUMN number SET DEFAULT nextval('public.extraction_words_number_seq'::regclass);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alembic_version (version_num) VALUES ('0009');


--
-- Data for Name: data_indexes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.data_indexes (number, path, state, filled_to) VALUES (1, 'price', 'ready', NULL);


--
-- Data for Name: data_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.data_keys (number, key, extraction_id) VALUES (1, '4bbf4729nc0418000000000008000', 'eb506511-2a81-5e58-8b16-a4c1a7e80211');


--
-- Data for Name: extraction_words; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.extraction_words (number, extraction_id, made_by, language, length, counts, tokens) VALUES (1, 'eb506511-2a81-5e58-8b16-a4c1a7e80211', 201, 'en', 9, '1111111121', '''3cms5uno'' ''4cwudg6o'' ''4gxwkg63'' ''5ehx6giz'' ''7nu73xrv'' ''czy4k2y5'' ''dy5kv4lq'' ''kvycugk5'' ''pucj6leb'' ''z5vxn3rp''');
INSERT INTO public.extraction_words (number, extraction_id, made_by, language, length, counts, tokens) VALUES (3, '5615c928-9d62-58eb-a726-80594e72fc16', 201, 'en', 8, '1111121', '''3qn6qmii'' ''732sbue4'' ''p2edxsb2'' ''rbyb7oxp'' ''tu55cnph'' ''vlgwou3u'' ''xocoxo4u''');
INSERT INTO public.extraction_words (number, extraction_id, made_by, language, length, counts, tokens) VALUES (4, 'e050a8a8-9ace-5f57-a8a2-3c3774cb11a1', 201, 'en', 7, '111121', '''4rmquo6c'' ''mdt4vwns'' ''qenmaetr'' ''rbyb7oxp'' ''vlgwou3u'' ''vza6gkwb''');
INSERT INTO public.extraction_words (number, extraction_id, made_by, language, length, counts, tokens) VALUES (7, '2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7', 201, 'en', 8, '11112111', '''l4oyjmvg'' ''mguhhwvw'' ''qz6w3cow'' ''rbyb7oxp'' ''vlgwou3u'' ''vza6gkwb'' ''xspqv27u'' ''zwmsihx2''');
INSERT INTO public.extraction_words (number, extraction_id, made_by, language, length, counts, tokens) VALUES (8, '26fac4be-abb5-505e-a37e-679507406026', 201, 'en', 7, '1111112', '''4gyb4bcg'' ''4hiuypnt'' ''4mlgstcb'' ''a4d4osva'' ''rbyb7oxp'' ''tzfcetxv'' ''vlgwou3u''');


--
-- Data for Name: extractions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.extractions (id, project_id, source_id, extraction_type, confidence, embedding_id, set_aside_reason, created_at, data, first_run_id, last_run_id, metadata, changed_at) VALUES ('eb506511-2a81-5e58-8b16-a4c1a7e80211', '4bbf4729-0bcd-5b10-baa2-6356886b011b', '023f5965-79cb-5ba4-b575-d3e9fff132e4', 'offer', NULL, 'eb506511-2a81-5e58-8b16-a4c1a7e80211', NULL, '2026-11-28 07:18:03.908621+00', '{"text":"the kettle costs 35 euro","price":35}', NULL, NULL, '{"by":"m-1"}', NULL);
INSERT INTO public.extractions (id, project_id, source_id, extraction_type, confidence, embedding_id, set_aside_reason, created_at, data, first_run_id, last_run_id, metadata, changed_at) VALUES ('e050a8a8-9ace-5f57-a8a2-3c3774cb11a1', '298eebe7-64ec-56ce-8bb3-edffb3149030', '842d1e69-b9c0-5ef7-910c-c719c3f3ad58', 'fact', NULL, 'e050a8a8-9ace-5f57-a8a2-3c3774cb11a1', NULL, '2026-11-28 07:18:03.962872+00', '{"fact_text":"in the main street"}', 'ac2d4774-dd01-4900-9fd5-90acaa9cc4fa', '2a15cc70-0bea-4f8a-91f4-965490d7c084', NULL, NULL);
INSERT INTO public.extractions (id, project_id, source_id, extraction_type, confidence, embedding_id, set_aside_reason, created_at, data, first_run_id, last_run_id, metadata, changed_at) VALUES ('5615c928-9d62-58eb-a726-80594e72fc16', '298eebe7-64ec-56ce-8bb3-edffb3149030', '842d1e69-b9c0-5ef7-910c-c719c3f3ad58', 'fact', 0.5, '5615c928-9d62-58eb-a726-80594e72fc16', NULL, '2026-11-28 07:18:03.962872+00', '{"fact_text":"open from nine to five"}', 'ac2d4774-dd01-4900-9fd5-90acaa9cc4fa', '2a15cc70-0bea-4f8a-91f4-965490d7c084', NULL, '2026-11-28 07:18:04.12972+00');
INSERT INTO public.extractions (id, project_id, source_id, extraction_type, confidence, embedding_id, set_aside_reason, created_at, data, first_run_id, last_run_id, metadata, changed_at) VALUES ('26fac4be-abb5-505e-a37e-679507406026', '298eebe7-64ec-56ce-8bb3-edffb3149030', '8a658e9c-2cd4-55c0-9779-ee0338f32b2d', 'fact', NULL, '26fac4be-abb5-505e-a37e-679507406026', NULL, '2026-11-28 07:18:04.132101+00', '{"fact_text":"a page about nothing"}', NULL, NULL, NULL, NULL);
INSERT INTO public.extractions (id, project_id, source_id, extraction_type, confidence, embedding_id, set_aside_reason, created_at, data, first_run_id, last_run_id, metadata, changed_at) VALUES ('2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7', '298eebe7-64ec-56ce-8bb3-edffb3149030', '842d1e69-b9c0-5ef7-910c-c719c3f3ad58', 'fact', NULL, '2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7', NULL, '2026-11-28 07:18:04.132101+00', '{"fact_text":"the bread costs 35 euro"}', NULL, NULL, NULL, NULL);


--
-- Data for Name: idempotency_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.idempotency_keys (key, part, fingerprint, created_at, answer) VALUES ('a-key', 0, '3da770586b3315b9146787b02b4329dd47e5558202ccc7790f0a672843c33414', '2026-11-28 07:18:04.141347+00', '{"replaced":[["842d1e69-b9c0-5ef7-910c-c719c3f3ad58","https://shop.example/a-page-of-prices?lang=de&sort=name",1,1,1,1,false],["8a658e9c-2cd4-55c0-9779-ee0338f32b2d","https://shop.example/gone",1,0,0,0,false]],"job_ids":["454908a0-e177-4d80-b9e1-3ae8696edfca","7b5fd189-c062-4b8c-9f4c-f4e954416086","21c28fe7-3112-4da9-ba4a-38ed8893bc64"]}');


--
-- Data for Name: index_state; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.index_state (id, embedder_name, embedder_version, dimension, rebuilding, generation, texts) VALUES (1, 'deterministic', '1', 32, false, 0, 'version 2, text_fields ["fact_text", "text", "summary"]');


--
-- Data for Name: job_totals; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job_totals (type, status, jobs, timed, microseconds, "least", "greatest") VALUES ('index_data', 'completed', 1, 1, 18743, 18743, 18743);
INSERT INTO public.job_totals (type, status, jobs, timed, microseconds, "least", "greatest") VALUES ('update_payload', 'completed', 2, 2, 18099, 7578, 10521);
INSERT INTO public.job_totals (type, status, jobs, timed, microseconds, "least", "greatest") VALUES ('embed', 'completed', 4, 4, 44534, 8806, 13223);
INSERT INTO public.job_totals (type, status, jobs, timed, microseconds, "least", "greatest") VALUES ('delete_vectors', 'completed', 2, 2, 20808, 7121, 13687);


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('21c28fe7-3112-4da9-ba4a-38ed8893bc64', 'embed', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:04.135985+00', '2026-11-28 07:18:04.163708+00', '2026-11-28 07:18:04.154902+00', '2026-11-28 07:18:04.163708+00', '{"extraction_ids":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","26fac4be-abb5-505e-a37e-679507406026"]}', '{"indexed":2,"set_aside":0,"cut":0}', NULL, '2026-11-28 07:18:04.135985+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 2, 2);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('74c62550-8f1f-4854-a1ef-5c0d7f0a7e35', 'index_data', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:03.869167+00', '2026-11-28 07:18:04.004627+00', '2026-11-28 07:18:03.985884+00', '2026-11-28 07:18:04.004627+00', '{"number":1}', '{"done":5}', NULL, '2026-11-28 07:18:03.869167+00', 0, 0, NULL, NULL, 5, 5);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('a36701b4-0cd4-453d-9de8-59842db0f597', 'embed', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:03.91871+00', '2026-11-28 07:18:04.021165+00', '2026-11-28 07:18:04.008721+00', '2026-11-28 07:18:04.021165+00', '{"extraction_ids":["eb506511-2a81-5e58-8b16-a4c1a7e80211"]}', '{"indexed":1,"set_aside":0,"cut":0}', NULL, '2026-11-28 07:18:03.91871+00', 0, 0, NULL, '4bbf4729-0bcd-5b10-baa2-6356886b011b', 1, 1);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('d964cdef-7eab-41c2-9423-69d544ddd4a0', 'embed', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:03.967072+00', '2026-11-28 07:18:04.03347+00', '2026-11-28 07:18:04.023409+00', '2026-11-28 07:18:04.03347+00', '{"extraction_ids":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","5615c928-9d62-58eb-a726-80594e72fc16","e050a8a8-9ace-5f57-a8a2-3c3774cb11a1","26fac4be-abb5-505e-a37e-679507406026"]}', '{"indexed":4,"set_aside":0,"cut":0}', NULL, '2026-11-28 07:18:03.967072+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 4, 4);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('7b5fd189-c062-4b8c-9f4c-f4e954416086', 'delete_vectors', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:04.137965+00', '2026-11-28 07:18:04.173011+00', '2026-11-28 07:18:04.16589+00', '2026-11-28 07:18:04.173011+00', '{"extraction_ids":["e26bc21f-62ce-5ba0-baf8-ddb91e4a328e"]}', '{"deleted":1}', NULL, '2026-11-28 07:18:04.137965+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 1, 1);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('214dca1f-c946-4da6-b810-e21f3b3a1e3c', 'update_payload', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:04.056552+00', '2026-11-28 07:18:04.088328+00', '2026-11-28 07:18:04.077807+00', '2026-11-28 07:18:04.088328+00', '{"extraction_ids":["5615c928-9d62-58eb-a726-80594e72fc16"]}', '{"updated":1}', NULL, '2026-11-28 07:18:04.056553+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 1, 1);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('27a13926-7397-4a2f-8d8d-409ca180a567', 'verify', 'queued', 0, 0, NULL, NULL, '2026-11-28 07:18:04.180532+00', '2026-11-28 07:18:04.180532+00', NULL, NULL, '{"project":"shop"}', NULL, NULL, '2026-11-28 07:18:04.180532+00', 0, 0, 'verify:shop', '4bbf4729-0bcd-5b10-baa2-6356886b011b', 0, NULL);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('c927e0c0-328f-488e-955b-e11776d14b29', 'embed', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:04.062071+00', '2026-11-28 07:18:04.10381+00', '2026-11-28 07:18:04.090587+00', '2026-11-28 07:18:04.10381+00', '{"extraction_ids":["e26bc21f-62ce-5ba0-baf8-ddb91e4a328e"]}', '{"indexed":1,"set_aside":0,"cut":0}', NULL, '2026-11-28 07:18:04.062071+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 1, 1);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('c13ad847-533c-4ada-b1ca-0844a48972e1', 'delete_vectors', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:04.065002+00', '2026-11-28 07:18:04.119892+00', '2026-11-28 07:18:04.106205+00', '2026-11-28 07:18:04.119892+00', '{"extraction_ids":["26fac4be-abb5-505e-a37e-679507406026","2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7"]}', '{"deleted":2}', NULL, '2026-11-28 07:18:04.065002+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 2, 2);
INSERT INTO public.jobs (id, type, status, priority, attempt, lease_expires_at, cancel_requested_at, created_at, updated_at, started_at, completed_at, payload, result, error, run_at, failures, lapses, unique_key, project_id, done, total) VALUES ('454908a0-e177-4d80-b9e1-3ae8696edfca', 'update_payload', 'completed', 0, 1, NULL, NULL, '2026-11-28 07:18:04.131395+00', '2026-11-28 07:18:04.152967+00', '2026-11-28 07:18:04.145389+00', '2026-11-28 07:18:04.152967+00', '{"extraction_ids":["5615c928-9d62-58eb-a726-80594e72fc16"]}', '{"updated":1}', NULL, '2026-11-28 07:18:04.131395+00', 0, 0, NULL, '298eebe7-64ec-56ce-8bb3-edffb3149030', 1, 1);


--
-- Data for Name: ledger; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('4bbf4729-0bcd-5b10-baa2-6356886b011b', 1, '023f5965-79cb-5ba4-b575-d3e9fff132e4', NULL, '2026-11-28 07:18:03.921738+00', 1, 0, 0, 40, '{"new":true,"added":["eb506511-2a81-5e58-8b16-a4c1a7e80211"]}');
INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 1, '842d1e69-b9c0-5ef7-910c-c719c3f3ad58', 'ac2d4774-dd01-4900-9fd5-90acaa9cc4fa', '2026-11-28 07:18:03.969248+00', 3, 0, 0, 120, '{"new":true,"added":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","5615c928-9d62-58eb-a726-80594e72fc16","e050a8a8-9ace-5f57-a8a2-3c3774cb11a1"],"observed_at":[null,"2026-11-28T07:18:03.961785+00:00"]}');
INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 2, '8a658e9c-2cd4-55c0-9779-ee0338f32b2d', 'ac2d4774-dd01-4900-9fd5-90acaa9cc4fa', '2026-11-28 07:18:03.969248+00', 1, 0, 0, 40, '{"new":true,"added":["26fac4be-abb5-505e-a37e-679507406026"],"observed_at":[null,"2026-11-28T07:18:03.961785+00:00"]}');
INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 3, '842d1e69-b9c0-5ef7-910c-c719c3f3ad58', '2a15cc70-0bea-4f8a-91f4-965490d7c084', '2026-11-28 07:18:04.066717+00', 1, 1, 1, 491, '{"added":["e26bc21f-62ce-5ba0-baf8-ddb91e4a328e"],"changed":{"5615c928-9d62-58eb-a726-80594e72fc16":{"confidence":0.5,"metadata":null}},"removed":[{"id":"2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7","extraction_type":"fact","confidence":null,"metadata":null,"created_at":"2026-11-28T07:18:03.962872+00:00","first_run_id":"ac2d4774-dd01-4900-9fd5-90acaa9cc4fa","last_run_id":"ac2d4774-dd01-4900-9fd5-90acaa9cc4fa","changed_at":null,"data":{"fact_text":"the bread costs 35 euro"}}],"asserted":{"ac2d4774-dd01-4900-9fd5-90acaa9cc4fa":["5615c928-9d62-58eb-a726-80594e72fc16","e050a8a8-9ace-5f57-a8a2-3c3774cb11a1"]},"observed_at":["2026-11-28T07:18:03.961785+00:00","2026-11-28T07:18:04.053056+00:00"]}');
INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 4, '8a658e9c-2cd4-55c0-9779-ee0338f32b2d', '2a15cc70-0bea-4f8a-91f4-965490d7c084', '2026-11-28 07:18:04.066717+00', 0, 0, 1, 328, '{"removed":[{"id":"26fac4be-abb5-505e-a37e-679507406026","extraction_type":"fact","confidence":null,"metadata":null,"created_at":"2026-11-28T07:18:03.962872+00:00","first_run_id":"ac2d4774-dd01-4900-9fd5-90acaa9cc4fa","last_run_id":"ac2d4774-dd01-4900-9fd5-90acaa9cc4fa","changed_at":null,"data":{"fact_text":"a page about nothing"}}],"observed_at":["2026-11-28T07:18:03.961785+00:00","2026-11-28T07:18:04.053056+00:00"]}');
INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 5, '842d1e69-b9c0-5ef7-910c-c719c3f3ad58', NULL, '2026-11-28 07:18:04.139594+00', 1, 1, 1, 411, '{"added":["2de1fcbe-cbdf-58f6-9e68-5dd26ed321c7"],"changed":{"5615c928-9d62-58eb-a726-80594e72fc16":{"confidence":0.9,"metadata":null}},"removed":[{"id":"e26bc21f-62ce-5ba0-baf8-ddb91e4a328e","extraction_type":"fact","confidence":null,"metadata":null,"created_at":"2026-11-28T07:18:04.058353+00:00","first_run_id":"2a15cc70-0bea-4f8a-91f4-965490d7c084","last_run_id":"2a15cc70-0bea-4f8a-91f4-965490d7c084","changed_at":null,"data":{"fact_text":"the bread costs 36 euro"}}],"observed_at":["2026-11-28T07:18:04.053056+00:00","2026-11-28T07:18:04.128568+00:00"]}');
INSERT INTO public.ledger (project_id, number, source_id, run_id, at, added, changed, removed, size, changes) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 6, '8a658e9c-2cd4-55c0-9779-ee0338f32b2d', NULL, '2026-11-28 07:18:04.139594+00', 1, 0, 0, 40, '{"added":["26fac4be-abb5-505e-a37e-679507406026"],"observed_at":["2026-11-28T07:18:04.053056+00:00","2026-11-28T07:18:04.128568+00:00"]}');


--
-- Data for Name: paused_job_types; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.paused_job_types (type, paused_at) VALUES ('verify', '2026-11-28 07:18:04.177094+00');


--
-- Data for Name: projects; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.projects (id, name, created_at, last_change, pruned_through) VALUES ('4bbf4729-0bcd-5b10-baa2-6356886b011b', 'shop', '2026-11-28 07:18:03.902973+00', 1, 0);
INSERT INTO public.projects (id, name, created_at, last_change, pruned_through) VALUES ('298eebe7-64ec-56ce-8bb3-edffb3149030', 'default', '2026-11-28 07:18:03.936632+00', 6, 0);


--
-- Data for Name: runs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.runs (id, project_id, name, begun_at, ended_at, undoes, first_change, added, changed, unchanged, removed, metadata) VALUES ('ac2d4774-dd01-4900-9fd5-90acaa9cc4fa', '298eebe7-64ec-56ce-8bb3-edffb3149030', 'monday', '2026-11-28 07:18:03.940747+00', '2026-11-28 07:18:03.97666+00', NULL, 1, 4, 0, 0, 0, '{"model":"m-1","temperature":0}');
INSERT INTO public.runs (id, project_id, name, begun_at, ended_at, undoes, first_change, added, changed, unchanged, removed, metadata) VALUES ('2a15cc70-0bea-4f8a-91f4-965490d7c084', '298eebe7-64ec-56ce-8bb3-edffb3149030', 'tuesday', '2026-11-28 07:18:04.046104+00', '2026-11-28 07:18:04.072644+00', NULL, 3, 1, 1, 1, 2, '{"model":"m-1","temperature":0}');


--
-- Data for Name: sources; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.sources (id, project_id, uri, source_group, created_at, observed_at) VALUES ('023f5965-79cb-5ba4-b575-d3e9fff132e4', '4bbf4729-0bcd-5b10-baa2-6356886b011b', 'https://shop.example/kettle', NULL, '2026-11-28 07:18:03.906495+00', NULL);
INSERT INTO public.sources (id, project_id, uri, source_group, created_at, observed_at) VALUES ('8a658e9c-2cd4-55c0-9779-ee0338f32b2d', '298eebe7-64ec-56ce-8bb3-edffb3149030', 'https://shop.example/gone', NULL, '2026-11-28 07:18:03.957849+00', '2026-11-28 07:18:04.128568+00');
INSERT INTO public.sources (id, project_id, uri, source_group, created_at, observed_at) VALUES ('842d1e69-b9c0-5ef7-910c-c719c3f3ad58', '298eebe7-64ec-56ce-8bb3-edffb3149030', 'https://shop.example/a-page-of-prices?lang=de&sort=name', 'shops', '2026-11-28 07:18:03.957849+00', '2026-11-28 07:18:04.128568+00');


--
-- Data for Name: store_identity; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.store_identity (id, store_id) VALUES (1, '5398d15a-d196-457c-94a3-6f33579361c4');


--
-- Name: data_indexes_number_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.data_indexes_number_seq', 1, true);


--
-- Name: extraction_words_number_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.extraction_words_number_seq', 8, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: data_indexes pk_data_indexes; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.data_indexes
    ADD CONSTRAINT pk_data_indexes PRIMARY KEY (number);


--
-- Name: data_keys pk_data_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.data_keys
    ADD CONSTRAINT pk_data_keys PRIMARY KEY (number, key, extraction_id);


--
-- Name: extraction_words pk_extraction_words; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.extraction_words
    ADD CONSTRAINT pk_extraction_words PRIMARY KEY (number);


--
-- Name: extractions pk_extractions; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.extractions
    ADD CONSTRAINT pk_extractions PRIMARY KEY (id);


--
-- Name: idempotency_keys pk_idempotency_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT pk_idempotency_keys PRIMARY KEY (key, part);


--
-- Name: index_state pk_index_state; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.index_state
    ADD CONSTRAINT pk_index_state PRIMARY KEY (id);


--
-- Name: job_totals pk_job_totals; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_totals
    ADD CONSTRAINT pk_job_totals PRIMARY KEY (type, status);


--
-- Name: jobs pk_jobs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);


--
-- Name: ledger pk_ledger; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT pk_ledger PRIMARY KEY (project_id, number);


--
-- Name: paused_job_types pk_paused_job_types; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.paused_job_types
    ADD CONSTRAINT pk_paused_job_types PRIMARY KEY (type);


--
-- Name: projects pk_projects; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT pk_projects PRIMARY KEY (id);


--
-- Name: runs pk_runs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT pk_runs PRIMARY KEY (id);


--
-- Name: sources pk_sources; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT pk_sources PRIMARY KEY (id);


--
-- Name: store_identity pk_store_identity; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.store_identity
    ADD CONSTRAINT pk_store_identity PRIMARY KEY (id);


--
-- Name: projects uq_projects_name; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT uq_projects_name UNIQUE (name);


--
-- Name: ix_data_keys_extraction_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_data_keys_extraction_id ON public.data_keys USING btree (extraction_id);


--
-- Name: ix_extraction_words_extraction_id; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX ix_extraction_words_extraction_id ON public.extraction_words USING btree (extraction_id);


--
-- Name: ix_extraction_words_tokens; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_extraction_words_tokens ON public.extraction_words USING gin (tokens) WITH (gin_pending_list_limit='256');


--
-- Name: ix_extractions_orphaned; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_extractions_orphaned ON public.extractions USING btree (id) WHERE ((embedding_id IS NULL) AND (set_aside_reason IS NULL));


--
-- Name: ix_extractions_project_id_created_at_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_extractions_project_id_created_at_id ON public.extractions USING btree (project_id, created_at, id);


--
-- Name: ix_extractions_project_id_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_extractions_project_id_id ON public.extractions USING btree (project_id, id);


--
-- Name: ix_extractions_set_aside; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_extractions_set_aside ON public.extractions USING btree (id) WHERE (set_aside_reason IS NOT NULL);


--
-- Name: ix_extractions_source_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_extractions_source_id ON public.extractions USING btree (source_id);


--
-- Name: ix_idempotency_keys_created_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);


--
-- Name: ix_jobs_created_at_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_created_at_id ON public.jobs USING btree (created_at, id);


--
-- Name: ix_jobs_finished; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_finished ON public.jobs USING btree (completed_at) WHERE (completed_at IS NOT NULL);


--
-- Name: ix_jobs_open; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_open ON public.jobs USING btree (priority DESC, run_at) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text, 'cancelling'::text]));


--
-- Name: ix_jobs_type_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_type_status ON public.jobs USING btree (type, status);


--
-- Name: ix_ledger_removing; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_ledger_removing ON public.ledger USING btree (project_id, number) WHERE (removed > 0);


--
-- Name: ix_ledger_run_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_ledger_run_id ON public.ledger USING btree (run_id, number) WHERE (run_id IS NOT NULL);


--
-- Name: ix_ledger_source_id_number; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_ledger_source_id_number ON public.ledger USING btree (source_id, number);


--
-- Name: ix_runs_project_id_begun_at_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_runs_project_id_begun_at_id ON public.runs USING btree (project_id, begun_at, id);


--
-- Name: ix_sources_project_id_source_group; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_sources_project_id_source_group ON public.sources USING btree (project_id, source_group);


--
-- Name: uq_jobs_unique_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_jobs_unique_key ON public.jobs USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (status = ANY (ARRAY['queued'::text, 'running'::text, 'cancelling'::text])));


--
-- Name: data_keys fk_data_keys_extraction_id_extractions; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.data_keys
    ADD CONSTRAINT fk_data_keys_extraction_id_extractions FOREIGN KEY (extraction_id) REFERENCES public.extractions(id) ON DELETE CASCADE;


--
-- Name: extraction_words fk_extraction_words_extraction_id_extractions; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.extraction_words
    ADD CONSTRAINT fk_extraction_words_extraction_id_extractions FOREIGN KEY (extraction_id) REFERENCES public.extractions(id) ON DELETE CASCADE;


--
-- Name: extractions fk_extractions_project_id_projects; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.extractions
    ADD CONSTRAINT fk_extractions_project_id_projects FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE;


--
-- Name: extractions fk_extractions_source_id_sources; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.extractions
    ADD CONSTRAINT fk_extractions_source_id_sources FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: runs fk_runs_project_id_projects; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT fk_runs_project_id_projects FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE;


--
-- Name: sources fk_sources_project_id_projects; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT fk_sources_project_id_projects FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


