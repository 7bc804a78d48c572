CREATE TABLE attribute_keys (
	key_id INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	CONSTRAINT pk_attribute_keys PRIMARY KEY (key_id),
	CONSTRAINT uq_attribute_keys_name UNIQUE (name)
);
CREATE TABLE audit_head (
	head INTEGER NOT NULL,
	entry INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	CONSTRAINT pk_audit_head PRIMARY KEY (head)
);
CREATE TABLE audit_log (
	entry INTEGER NOT NULL,
	happened_at BIGINT NOT NULL,
	user_id VARCHAR(256) NOT NULL,
	action VARCHAR(50) NOT NULL,
	model VARCHAR(256) NOT NULL,
	data TEXT NOT NULL,
	previous VARCHAR(64) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	CONSTRAINT pk_audit_log PRIMARY KEY (entry)
);
CREATE TABLE experiments (
	experiment_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	name VARCHAR(500) NOT NULL,
	artifact_location VARCHAR(2048) NOT NULL,
	creation_time BIGINT NOT NULL,
	last_update_time BIGINT NOT NULL,
	deleted_time BIGINT,
	CONSTRAINT uq_experiments_name UNIQUE (name)
);
CREATE TABLE idempotency_keys (
	idempotency_key VARCHAR(255) NOT NULL,
	resource VARCHAR(600) NOT NULL,
	creation_time BIGINT NOT NULL,
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (idempotency_key)
);
CREATE TABLE latest_metrics (
	run_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	experiment_id BIGINT NOT NULL,
	value DOUBLE NOT NULL,
	is_nan SMALLINT NOT NULL,
	timestamp BIGINT NOT NULL,
	step BIGINT NOT NULL,
	CONSTRAINT pk_latest_metrics PRIMARY KEY (run_pk, key_id)
)
 WITHOUT ROWID;
CREATE INDEX ix_latest_metrics_value ON latest_metrics (experiment_id, key_id, is_nan, value, run_pk);
CREATE TABLE metrics (
	run_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	timestamp BIGINT NOT NULL,
	step BIGINT NOT NULL,
	value DOUBLE NOT NULL,
	is_nan SMALLINT NOT NULL,
	CONSTRAINT pk_metrics PRIMARY KEY (run_pk, key_id, timestamp, step, value, is_nan)
)
 WITHOUT ROWID;
CREATE TABLE outbox (
	entry INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	event_id VARCHAR(64) NOT NULL,
	entity VARCHAR(50) NOT NULL,
	action VARCHAR(50) NOT NULL,
	model VARCHAR(256) NOT NULL,
	data TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT uq_outbox_event_id UNIQUE (event_id)
);
CREATE INDEX ix_outbox_model ON outbox (model, entry);
CREATE TABLE params (
	run_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	experiment_id BIGINT NOT NULL,
	value TEXT NOT NULL,
	value_hash BIGINT NOT NULL,
	CONSTRAINT pk_params PRIMARY KEY (run_pk, key_id)
)
 WITHOUT ROWID;
CREATE INDEX ix_params_value ON params (experiment_id, key_id, value_hash, run_pk);
CREATE TABLE registered_models (
	registered_model_pk INTEGER NOT NULL,
	name VARCHAR(256) NOT NULL,
	description TEXT,
	user_id VARCHAR(256),
	creation_timestamp BIGINT NOT NULL,
	last_updated_timestamp BIGINT NOT NULL,
	last_version INTEGER NOT NULL,
	owner_run_id VARCHAR(32),
	CONSTRAINT pk_registered_models PRIMARY KEY (registered_model_pk),
	CONSTRAINT uq_registered_models_name UNIQUE (name)
);
CREATE INDEX ix_registered_models_updated ON registered_models (last_updated_timestamp, name);
CREATE TABLE role_members (
	role_name VARCHAR(250) NOT NULL,
	user_id VARCHAR(256) NOT NULL,
	CONSTRAINT pk_role_members PRIMARY KEY (role_name, user_id)
);
CREATE TABLE tags (
	run_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	experiment_id BIGINT NOT NULL,
	value TEXT NOT NULL,
	value_hash BIGINT NOT NULL,
	CONSTRAINT pk_tags PRIMARY KEY (run_pk, key_id)
)
 WITHOUT ROWID;
CREATE INDEX ix_tags_value ON tags (experiment_id, key_id, value_hash, run_pk);
CREATE TABLE users (
	user_id VARCHAR(256) NOT NULL,
	token_digest VARCHAR(64),
	created_at BIGINT NOT NULL,
	created_by VARCHAR(256) NOT NULL,
	revoked_at BIGINT,
	CONSTRAINT pk_users PRIMARY KEY (user_id),
	CONSTRAINT uq_users_token_digest UNIQUE (token_digest)
);
CREATE TABLE webhooks (
	webhook_pk INTEGER NOT NULL,
	webhook_id VARCHAR(36) NOT NULL,
	name VARCHAR(63) NOT NULL,
	description TEXT,
	url VARCHAR(500) NOT NULL,
	secret VARCHAR(1000),
	status VARCHAR(20) NOT NULL,
	creation_timestamp BIGINT NOT NULL,
	last_updated_timestamp BIGINT NOT NULL,
	deleted_time BIGINT,
	CONSTRAINT pk_webhooks PRIMARY KEY (webhook_pk),
	CONSTRAINT uq_webhooks_webhook_id UNIQUE (webhook_id)
);
CREATE INDEX ix_webhooks_newest ON webhooks (creation_timestamp DESC, webhook_id);
CREATE TABLE approvals (
	approval_pk INTEGER NOT NULL,
	approval_id VARCHAR(64) NOT NULL,
	verdict_id VARCHAR(64) NOT NULL,
	registered_model_pk INTEGER NOT NULL,
	version INTEGER NOT NULL,
	alias VARCHAR(255),
	stage VARCHAR(100),
	role_name VARCHAR(250) NOT NULL,
	status VARCHAR(20) NOT NULL,
	needed INTEGER NOT NULL,
	four_eyes SMALLINT NOT NULL,
	starter VARCHAR(256) NOT NULL,
	requested_by VARCHAR(256) NOT NULL,
	policy_digest VARCHAR(64) NOT NULL,
	champion_version INTEGER,
	champion_revision BIGINT NOT NULL,
	requested_at BIGINT NOT NULL,
	expires_at BIGINT,
	CONSTRAINT pk_approvals PRIMARY KEY (approval_pk),
	CONSTRAINT uq_approvals_approval_id UNIQUE (approval_id),
	CONSTRAINT fk_approvals_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE INDEX ix_approvals_model ON approvals (registered_model_pk, approval_pk);
CREATE INDEX ix_approvals_status ON approvals (status, approval_pk);
CREATE TABLE datasets (
	dataset_pk INTEGER NOT NULL,
	experiment_id INTEGER NOT NULL,
	name VARCHAR(500) NOT NULL,
	digest VARCHAR(36) NOT NULL,
	source_type VARCHAR(36) NOT NULL,
	source TEXT NOT NULL,
	schema_json TEXT,
	profile TEXT,
	CONSTRAINT pk_datasets PRIMARY KEY (dataset_pk),
	CONSTRAINT uq_datasets_experiment_id_name_digest UNIQUE (experiment_id, name, digest),
	CONSTRAINT fk_datasets_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE deliveries (
	webhook_pk INTEGER NOT NULL,
	entry INTEGER NOT NULL,
	model VARCHAR(256) NOT NULL,
	attempts INTEGER NOT NULL,
	next_at BIGINT NOT NULL,
	problem TEXT NOT NULL,
	CONSTRAINT pk_deliveries PRIMARY KEY (webhook_pk, entry),
	CONSTRAINT fk_deliveries_webhook_pk FOREIGN KEY(webhook_pk) REFERENCES webhooks (webhook_pk) ON DELETE CASCADE,
	CONSTRAINT fk_deliveries_entry FOREIGN KEY(entry) REFERENCES outbox (entry) ON DELETE CASCADE
);
CREATE INDEX ix_deliveries_order ON deliveries (webhook_pk, model, entry);
CREATE TABLE experiment_tags (
	experiment_id INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_experiment_tags PRIMARY KEY (experiment_id, name),
	CONSTRAINT fk_experiment_tags_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE logged_models (
	logged_model_pk INTEGER NOT NULL,
	model_id VARCHAR(64) NOT NULL,
	experiment_id INTEGER NOT NULL,
	name VARCHAR(500) NOT NULL,
	artifact_uri VARCHAR(2048) NOT NULL,
	status VARCHAR(40) NOT NULL,
	status_message TEXT,
	model_type VARCHAR(500),
	source_run_id VARCHAR(32),
	owner_run_id VARCHAR(32),
	creation_timestamp BIGINT NOT NULL,
	last_updated_timestamp BIGINT NOT NULL,
	deleted_time BIGINT,
	CONSTRAINT pk_logged_models PRIMARY KEY (logged_model_pk),
	CONSTRAINT uq_logged_models_model_id UNIQUE (model_id),
	CONSTRAINT fk_logged_models_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE INDEX ix_logged_models_newest ON logged_models (experiment_id, creation_timestamp DESC, model_id);
CREATE INDEX ix_logged_models_source_run_id ON logged_models (source_run_id);
CREATE TABLE model_versions (
	model_version_pk INTEGER NOT NULL,
	registered_model_pk INTEGER NOT NULL,
	version INTEGER NOT NULL,
	current_stage VARCHAR(100) NOT NULL,
	source VARCHAR(2048) NOT NULL,
	storage_location VARCHAR(2048),
	run_id VARCHAR(32),
	run_link VARCHAR(500),
	description TEXT,
	user_id VARCHAR(256),
	model_id VARCHAR(64),
	status VARCHAR(20) NOT NULL,
	status_message VARCHAR(500),
	owner_run_id VARCHAR(32),
	creation_timestamp BIGINT NOT NULL,
	last_updated_timestamp BIGINT NOT NULL,
	deleted_time BIGINT,
	CONSTRAINT pk_model_versions PRIMARY KEY (model_version_pk),
	CONSTRAINT uq_model_versions_registered_model_pk_version UNIQUE (registered_model_pk, version),
	CONSTRAINT fk_model_versions_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE INDEX ix_model_versions_model_id ON model_versions (model_id);
CREATE INDEX ix_model_versions_run_id ON model_versions (run_id);
CREATE INDEX ix_model_versions_stage ON model_versions (registered_model_pk, current_stage, deleted_time, version);
CREATE INDEX ix_model_versions_updated ON model_versions (last_updated_timestamp, model_version_pk);
CREATE TABLE promotions (
	revision INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	promotion_id VARCHAR(64) NOT NULL,
	registered_model_pk INTEGER NOT NULL,
	kind VARCHAR(20) NOT NULL,
	alias VARCHAR(255),
	stage VARCHAR(100),
	version INTEGER,
	previous_version INTEGER,
	archived TEXT NOT NULL,
	verdict_id VARCHAR(64),
	user_id VARCHAR(256) NOT NULL,
	remark TEXT NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	run_id VARCHAR(32),
	intent_id VARCHAR(64),
	idempotency_key VARCHAR(255),
	created_at BIGINT NOT NULL,
	CONSTRAINT uq_promotions_promotion_id UNIQUE (promotion_id),
	CONSTRAINT fk_promotions_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE,
	CONSTRAINT uq_promotions_idempotency_key UNIQUE (idempotency_key)
);
CREATE INDEX ix_promotions_alias ON promotions (registered_model_pk, alias, revision);
CREATE INDEX ix_promotions_model ON promotions (registered_model_pk, revision);
CREATE INDEX ix_promotions_stage ON promotions (registered_model_pk, stage, revision);
CREATE TABLE protected_models (
	registered_model_pk INTEGER NOT NULL,
	policy_digest VARCHAR(64),
	CONSTRAINT pk_protected_models PRIMARY KEY (registered_model_pk),
	CONSTRAINT fk_protected_models_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE TABLE registered_model_aliases (
	registered_model_pk INTEGER NOT NULL,
	alias VARCHAR(255) NOT NULL,
	version INTEGER NOT NULL,
	CONSTRAINT pk_registered_model_aliases PRIMARY KEY (registered_model_pk, alias),
	CONSTRAINT fk_registered_model_aliases_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE TABLE registered_model_tags (
	registered_model_pk INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_registered_model_tags PRIMARY KEY (registered_model_pk, name),
	CONSTRAINT fk_registered_model_tags_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE TABLE required_approvals (
	registered_model_pk INTEGER NOT NULL,
	role_name VARCHAR(250) NOT NULL,
	needed INTEGER NOT NULL,
	four_eyes SMALLINT NOT NULL,
	CONSTRAINT pk_required_approvals PRIMARY KEY (registered_model_pk, role_name),
	CONSTRAINT fk_required_approvals_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE TABLE rollback_intents (
	intent_pk INTEGER NOT NULL,
	intent_id VARCHAR(64) NOT NULL,
	registered_model_pk INTEGER NOT NULL,
	alias VARCHAR(255),
	stage VARCHAR(100),
	from_version INTEGER,
	to_version INTEGER,
	revision BIGINT NOT NULL,
	status VARCHAR(20) NOT NULL,
	reason TEXT NOT NULL,
	user_id VARCHAR(256) NOT NULL,
	checks TEXT NOT NULL,
	promotion_id VARCHAR(64),
	created_at BIGINT NOT NULL,
	due_at BIGINT,
	CONSTRAINT pk_rollback_intents PRIMARY KEY (intent_pk),
	CONSTRAINT uq_rollback_intents_intent_id UNIQUE (intent_id),
	CONSTRAINT fk_rollback_intents_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE INDEX ix_rollback_intents_model ON rollback_intents (registered_model_pk, intent_pk);
CREATE INDEX ix_rollback_intents_status ON rollback_intents (status, intent_pk);
CREATE TABLE runs (
	run_pk INTEGER NOT NULL,
	run_id VARCHAR(32) NOT NULL,
	experiment_id INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	user_id VARCHAR(256) NOT NULL,
	status VARCHAR(16) NOT NULL,
	start_time BIGINT NOT NULL,
	end_time BIGINT,
	deleted_time BIGINT,
	artifact_uri VARCHAR(2048) NOT NULL,
	step_run_key VARCHAR(128),
	attempt INTEGER NOT NULL,
	owner_run_id VARCHAR(32),
	CONSTRAINT pk_runs PRIMARY KEY (run_pk),
	CONSTRAINT uq_runs_run_id UNIQUE (run_id),
	CONSTRAINT fk_runs_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE,
	CONSTRAINT uq_runs_step_run_key UNIQUE (step_run_key)
);
CREATE INDEX ix_runs_deleted ON runs (experiment_id, deleted_time) WHERE deleted_time IS NOT NULL;
CREATE INDEX ix_runs_end_time ON runs (experiment_id, end_time);
CREATE INDEX ix_runs_name ON runs (experiment_id, name);
CREATE INDEX ix_runs_newest ON runs (experiment_id, start_time DESC, run_id);
CREATE TABLE traces (
	trace_pk INTEGER NOT NULL,
	trace_id VARCHAR(64) NOT NULL,
	experiment_id INTEGER NOT NULL,
	request_time BIGINT NOT NULL,
	execution_duration BIGINT,
	state VARCHAR(32) NOT NULL,
	client_request_id VARCHAR(250),
	request_preview TEXT,
	response_preview TEXT,
	assessments TEXT,
	CONSTRAINT pk_traces PRIMARY KEY (trace_pk),
	CONSTRAINT uq_traces_trace_id UNIQUE (trace_id),
	CONSTRAINT fk_traces_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE INDEX ix_traces_newest ON traces (experiment_id, request_time DESC, trace_id);
CREATE TABLE verdicts (
	verdict_pk INTEGER NOT NULL,
	verdict_id VARCHAR(64) NOT NULL,
	registered_model_pk INTEGER NOT NULL,
	version INTEGER NOT NULL,
	body TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_verdicts PRIMARY KEY (verdict_pk),
	CONSTRAINT uq_verdicts_verdict_id UNIQUE (verdict_id),
	CONSTRAINT fk_verdicts_registered_model_pk FOREIGN KEY(registered_model_pk) REFERENCES registered_models (registered_model_pk) ON DELETE CASCADE
);
CREATE INDEX ix_verdicts_model ON verdicts (registered_model_pk, verdict_pk);
CREATE TABLE webhook_events (
	webhook_pk INTEGER NOT NULL,
	entity VARCHAR(50) NOT NULL,
	action VARCHAR(50) NOT NULL,
	CONSTRAINT pk_webhook_events PRIMARY KEY (webhook_pk, entity, action),
	CONSTRAINT fk_webhook_events_webhook_pk FOREIGN KEY(webhook_pk) REFERENCES webhooks (webhook_pk) ON DELETE CASCADE
);
CREATE INDEX ix_webhook_events_event ON webhook_events (entity, action);
CREATE TABLE approval_decisions (
	approval_pk INTEGER NOT NULL,
	user_id VARCHAR(256) NOT NULL,
	approved SMALLINT NOT NULL,
	remark TEXT NOT NULL,
	decided_at BIGINT NOT NULL,
	CONSTRAINT pk_approval_decisions PRIMARY KEY (approval_pk, user_id),
	CONSTRAINT fk_approval_decisions_approval_pk FOREIGN KEY(approval_pk) REFERENCES approvals (approval_pk) ON DELETE CASCADE
);
CREATE TABLE dataset_input_tags (
	run_pk INTEGER NOT NULL,
	dataset_pk INTEGER NOT NULL,
	name VARCHAR(255) NOT NULL,
	value VARCHAR(500) NOT NULL,
	CONSTRAINT pk_dataset_input_tags PRIMARY KEY (run_pk, dataset_pk, name),
	CONSTRAINT fk_dataset_input_tags_run_pk FOREIGN KEY(run_pk) REFERENCES runs (run_pk) ON DELETE CASCADE,
	CONSTRAINT fk_dataset_input_tags_dataset_pk FOREIGN KEY(dataset_pk) REFERENCES datasets (dataset_pk) ON DELETE CASCADE
);
CREATE TABLE dataset_inputs (
	run_pk INTEGER NOT NULL,
	dataset_pk INTEGER NOT NULL,
	CONSTRAINT pk_dataset_inputs PRIMARY KEY (run_pk, dataset_pk),
	CONSTRAINT fk_dataset_inputs_run_pk FOREIGN KEY(run_pk) REFERENCES runs (run_pk) ON DELETE CASCADE,
	CONSTRAINT fk_dataset_inputs_dataset_pk FOREIGN KEY(dataset_pk) REFERENCES datasets (dataset_pk) ON DELETE CASCADE
);
CREATE INDEX ix_dataset_inputs_dataset ON dataset_inputs (dataset_pk, run_pk);
CREATE TABLE logged_model_metrics (
	logged_model_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	dataset_hash BIGINT NOT NULL,
	step BIGINT NOT NULL,
	timestamp BIGINT NOT NULL,
	value DOUBLE NOT NULL,
	is_nan SMALLINT NOT NULL,
	run_id VARCHAR(32) NOT NULL,
	dataset_name VARCHAR(500),
	dataset_digest VARCHAR(36),
	CONSTRAINT pk_logged_model_metrics PRIMARY KEY (logged_model_pk, key_id, dataset_hash, step, timestamp, value, is_nan, run_id),
	CONSTRAINT fk_logged_model_metrics_logged_model_pk FOREIGN KEY(logged_model_pk) REFERENCES logged_models (logged_model_pk) ON DELETE CASCADE
);
CREATE TABLE logged_model_params (
	logged_model_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_logged_model_params PRIMARY KEY (logged_model_pk, key_id),
	CONSTRAINT fk_logged_model_params_logged_model_pk FOREIGN KEY(logged_model_pk) REFERENCES logged_models (logged_model_pk) ON DELETE CASCADE
);
CREATE TABLE logged_model_tags (
	logged_model_pk INTEGER NOT NULL,
	key_id INTEGER NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_logged_model_tags PRIMARY KEY (logged_model_pk, key_id),
	CONSTRAINT fk_logged_model_tags_logged_model_pk FOREIGN KEY(logged_model_pk) REFERENCES logged_models (logged_model_pk) ON DELETE CASCADE
);
CREATE TABLE model_inputs (
	run_pk INTEGER NOT NULL,
	model_id VARCHAR(64) NOT NULL,
	CONSTRAINT pk_model_inputs PRIMARY KEY (run_pk, model_id),
	CONSTRAINT fk_model_inputs_run_pk FOREIGN KEY(run_pk) REFERENCES runs (run_pk) ON DELETE CASCADE
);
CREATE TABLE model_outputs (
	run_pk INTEGER NOT NULL,
	model_id VARCHAR(64) NOT NULL,
	step BIGINT NOT NULL,
	CONSTRAINT pk_model_outputs PRIMARY KEY (run_pk, model_id),
	CONSTRAINT fk_model_outputs_run_pk FOREIGN KEY(run_pk) REFERENCES runs (run_pk) ON DELETE CASCADE
);
CREATE TABLE model_version_tags (
	model_version_pk INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_model_version_tags PRIMARY KEY (model_version_pk, name),
	CONSTRAINT fk_model_version_tags_model_version_pk FOREIGN KEY(model_version_pk) REFERENCES model_versions (model_version_pk) ON DELETE CASCADE
);
CREATE TABLE trace_metadata (
	trace_pk INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_trace_metadata PRIMARY KEY (trace_pk, name),
	CONSTRAINT fk_trace_metadata_trace_pk FOREIGN KEY(trace_pk) REFERENCES traces (trace_pk) ON DELETE CASCADE
);
CREATE TABLE trace_tags (
	trace_pk INTEGER NOT NULL,
	name VARCHAR(250) NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_trace_tags PRIMARY KEY (trace_pk, name),
	CONSTRAINT fk_trace_tags_trace_pk FOREIGN KEY(trace_pk) REFERENCES traces (trace_pk) ON DELETE CASCADE
);
