"""Mistakes that somebody could make, by the test that has to notice them: file, what stands there, what it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests import test_wiring as wiring
from tests.deploy import test_alerts as alerts
from tests.deploy import test_builders as builders
from tests.deploy import test_functions as functions
from tests.deploy import test_grants as grants
from tests.deploy import test_indexes as indexes
from tests.deploy import test_messages as messages
from tests.deploy import test_places as places
from tests.deploy import test_security_table as security
from tests.docs import test_readme as readme

Edit = tuple[str, str, str]

PUBSUB, STORAGE, DEPLOYED = "infra/pubsub.tf", "infra/storage.tf", "infra/functions.tf"
TABLE, ASKED, WATCHED = "infra/functions.json", "infra/monitoring.json", "infra/monitoring.tf"
BUILD, DATABASE, SECRETS = "infra/build.tf", "infra/firestore.tf", "infra/secrets.tf"
OUTPUTS = "infra/outputs.tf"
INDEXES = "shared/stores/indexes.json"
URL = "google_cloudfunctions2_function.this[each.key].service_config[0].uri"
TO_RESULTS = 'dead_letter_topic = google_pubsub_topic.this["results"]'

BREAKAGES: Mapping[Callable[..., None], Sequence[Edit]] = {
    # ------------------------------------------------------------ topics, entry points
    wiring.test_every_function_has_its_file_and_every_file_its_row: [
        (TABLE, '"source": "functions/ops.py"', '"source": "functions/op.py"'),
    ],
    wiring.test_the_entry_point_is_a_plain_function_of_that_name_registered_for_http: [
        (TABLE, '"entry_point": "record_cost"', '"entry_point": "record_costs"'),
        ("functions/validate.py", "def validate(request", "def validated(request"),
        ("functions/on_tick.py", "@functions_framework.http", "@functions_framework.cloud_event"),
    ],
    wiring.test_what_is_published_is_consumed_or_public: [
        (TABLE, '"trigger": {"topic": "quality-check"}', '"trigger": {"topic": "quality-checks"}'),
    ],
    wiring.test_every_topic_has_exactly_one_function: [
        (TABLE, '"trigger": {"topic": "fallback"}', '"trigger": {"topic": "generate"}'),
    ],
    wiring.test_a_row_lists_exactly_what_its_code_can_publish: [
        (TABLE, '"quality-check", "record-cost", "results"]', '"quality-check", "results"]'),
        ("shared/domain/moves.py", 'topic="record-cost"', 'topic="record-costs"'),
    ],
    wiring.test_a_delivery_outlasts_the_function_and_stays_within_the_clouds_limits: [
        (TABLE, '"ack_deadline_s": 330', '"ack_deadline_s": 300'),
        (TABLE, '"max_delivery_attempts": 5,', '"max_delivery_attempts": 4,'),
    ],
    messages.test_terraform_makes_the_topics_that_the_local_bus_has: [
        (PUBSUB, "name     = each.value\n", 'name     = "${each.value}-events"\n'),
        (PUBSUB, "topics = toset(concat(", 'topics = toset(concat(["audit"], '),
    ],
    messages.test_every_function_with_a_topic_has_one_subscription_and_nothing_else_has: [
        (PUBSUB, "name     = each.key\n", 'name     = "${each.key}-push"\n'),
    ],
    # ------------------------------------------------------------ deliveries
    messages.test_a_subscription_is_delivered_as_the_local_bus_delivers_it: [
        (PUBSUB, 'minimum_backoff = "${each.value.min_backoff_s}s"', 'minimum_backoff = "10s"'),
        (PUBSUB, "each.key) ? [each.value.max_delivery_attempts] : []", "each.key) ? [5] : []"),
        (PUBSUB, "dead_letter_topic     = google_pubsub_topic.this[local.dead_letter_topic]", TO_RESULTS),
        (PUBSUB, "if row.trigger.topic != local.dead_letter_topic", 'if row.trigger.topic != "ticks"'),
    ],
    messages.test_a_subscription_waits_for_longer_than_its_function_may_run: [
        (PUBSUB, "= each.value.ack_deadline_s #", "= each.value.timeout_s #"),
        (DEPLOYED, "= each.value.timeout_s\n", "= 540\n"),
    ],
    messages.test_a_subscription_never_expires_and_drops_nothing: [
        (PUBSUB, 'ttl = ""', 'ttl = "2678400s"'),
        (PUBSUB, 'message_retention_duration = "604800s"', 'message_retention_duration = "600s"'),
    ],
    messages.test_a_subscription_pushes_to_its_own_function_as_somebody: [
        (PUBSUB, f"audience              = {URL}", "audience = var.project_id"),
        (PUBSUB, f"push_endpoint = {URL}", "push_endpoint = local.webhook_url"),
        (PUBSUB, "google_service_account.push.email", "google_service_account.build.email"),
    ],
    messages.test_the_tick_comes_as_often_as_the_table_says: [
        ("infra/scheduler.tf", "= each.value.trigger.schedule", '= "*/5 * * * *"'),
        ("infra/scheduler.tf", 'base64encode(jsonencode({ by = "scheduler" }))', '"scheduler"'),
    ],
    messages.test_a_request_by_the_clock_is_published_as_it_was_written: [
        ("infra/scheduler.tf", "base64encode(each.value.request)", "base64encode(jsonencode(each.value.request))"),
        ("infra/scheduler.tf", '["validate"].trigger.topic', '["generate"].trigger.topic'),
    ],
    messages.test_the_inbox_tells_its_topic_of_every_finished_file: [
        (STORAGE, "OBJECT_FINALIZE", "OBJECT_ARCHIVE"),
        (STORAGE, 'data[local.functions["on_upload"].trigger.bucket].name', 'data["outputs"].name'),
    ],
    # ------------------------------------------------------------ functions, and what the code does in them
    functions.test_every_function_of_the_table_is_deployed_and_nothing_else: [
        (DEPLOYED, '"atelier-${replace(name, "_", "-")}"', 'replace(name, "_", "-")'),
    ],
    functions.test_a_function_is_built_from_its_own_file_and_starts_at_its_entry_point: [
        (DEPLOYED, "= each.value.entry_point", '= "main"'),
        (DEPLOYED, "GOOGLE_FUNCTION_SOURCE = each.value.source", 'GOOGLE_FUNCTION_SOURCE = "functions/ops.py"'),
        (DEPLOYED, "object = local.archive\n", 'object = "archives/latest.zip"\n'),
    ],
    functions.test_a_function_gets_the_time_memory_and_neighbours_that_the_table_says: [
        (DEPLOYED, "${each.value.memory_mib}Mi", "256Mi"),
        (DEPLOYED, "= local.scaling[each.key].concurrency", "= 80"),
        (DEPLOYED, "= local.scaling[each.key].max_instances\n", "= 1000\n"),
    ],
    functions.test_a_function_is_its_own_account_and_answers_only_inside_unless_it_answers_http: [
        (DEPLOYED, '? "ALLOW_INTERNAL_ONLY" : "ALLOW_ALL"', '? "ALLOW_ALL" : "ALLOW_ALL"'),
        (DEPLOYED, "= google_service_account.function[each.key].email\n", "= google_service_account.push.email\n"),
    ],
    functions.test_every_variable_of_a_function_is_a_setting_that_the_code_declares: [
        (DEPLOYED, "    DAILY_BUDGET_USD        = var.daily", "    DAILY_BUDGET        = var.daily"),
        (DEPLOYED, "= var.tenant_daily_budget_usd", '= "plenty"'),
        (DEPLOYED, 'BUDGET_SHARDS = "8"', 'BUDGET_SHARDS = "800"'),
        (DEPLOYED, '        PYTHONPATH           = "."', '        ATELIER_PYTHONPATH   = "."'),
    ],
    functions.test_the_settings_lead_to_what_terraform_makes: [
        (DEPLOYED, '= "gs://${var.project_id}"', '= "gs://${var.project_id}-data"'),
        (DEPLOYED, '= "firestore://${var.project_id}/${var.database}"', '= "firestore://${var.project_id}"'),
        (STORAGE, "${var.project_id}-${each.key}", "${var.project_id}-atelier-${each.key}"),
    ],
    functions.test_the_services_of_every_function_can_be_built_from_what_it_is_told: [
        (DEPLOYED, 'CALLS_VENDORS = "false"', 'CALLS_VENDORS = "true"'),
        (DEPLOYED, "{ VERTEX_PROJECT = var.project_id }", '{ CALLS_VENDORS = "true" }'),
    ],
    functions.test_vendors_are_told_where_to_call_only_while_they_are_let_in: [
        (DEPLOYED, "webhook_settings = var.webhook_public ?", "webhook_settings = !var.webhook_public ?"),
        (DEPLOYED, 'local.ids["on_webhook"]', 'local.ids["ops"]'),
    ],
    functions.test_no_secret_stands_in_a_plain_variable: [
        (DEPLOYED, 'BUDGET_SHARDS = "8"', 'RUNWAY_API_SECRET = "key_1"'),
    ],
    functions.test_a_function_gets_the_secrets_that_the_table_says_in_the_versions_that_are_pinned: [
        (DEPLOYED, "= tostring(secret_environment_variables.value)", '= "latest"'),
        (DEPLOYED, '"ATELIER_${secret_environment_variables.key}"', "secret_environment_variables.key"),
    ],
    functions.test_the_table_gives_a_function_exactly_the_secrets_that_its_code_reads: [
        (TABLE, '"secrets": []', '"secrets": ["RUNWAY_API_SECRET"]'),
        (TABLE, '"secrets": ["REPLICATE_WEBHOOK_SECRETS"]', '"secrets": []'),
    ],
    functions.test_the_table_lets_exactly_those_call_vendors_that_do: [
        (TABLE, '"calls_vendors": false', '"calls_vendors": true'),
    ],
    functions.test_the_table_lets_a_function_read_and_write_documents_exactly_where_its_code_does: [
        (TABLE, '"documents": "none"', '"documents": "read"'),
        (TABLE, '"documents": "read"', '"documents": "write"'),
    ],
    functions.test_the_table_gives_a_function_exactly_the_objects_that_its_code_uses: [
        (TABLE, '{"inbox": "read", "outputs": "create"}', '{"outputs": "create"}'),
        (TABLE, '{"outputs": "read"}', '{"outputs": "replace"}'),
        (TABLE, '"objects": {}', '"objects": {"inbox": "read"}'),
    ],
    functions.test_the_table_lets_a_function_publish_whatever_it_was_seen_publishing: [
        (TABLE, '["requests", "fallback", "results"]', '["requests", "results"]'),
    ],
    # ------------------------------------------------------------ roles
    grants.test_every_grant_is_one_that_the_table_or_a_list_with_reasons_asks_for: [
        (PUBSUB, "for_each     = local.dead_lettering", "for_each     = toset([])"),
        (PUBSUB, 'role   = "roles/pubsub.publisher"', 'role   = "roles/pubsub.viewer"'),
        (PUBSUB, "topic    = google_pubsub_topic.this[each.value.topic].id", 'topic    = "topics/requests"'),
        (PUBSUB, '"roles/iam.serviceAccountTokenCreator"', '"roles/iam.serviceAccountUser"'),
        (STORAGE, '"roles/storage.objectCreator"', '"roles/storage.objectAdmin"'),
        (STORAGE, "bucket   = each.value.bucket", 'bucket   = "${var.project_id}-outputs"'),
        (SECRETS, "= google_secret_manager_secret.vendor[each.value.secret].secret_id", '= "atelier-all"'),
        (DEPLOYED, 'google_project_iam_custom_role.vertex["atelierVertex"].id :', '"roles/aiplatform.user" :'),
        (DEPLOYED, '"roles/iam.serviceAccountTokenCreator"', '"roles/iam.serviceAccountUser"'),
        (DEPLOYED, "  for_each = local.event_functions\n  service ", "  for_each = local.functions\n  service "),
    ],
    grants.test_nobody_but_the_signed_webhook_is_open_to_everybody_and_that_only_when_asked: [
        (DEPLOYED, 'toset(var.webhook_public ? ["allUsers"] : [])', 'toset(["allUsers"])'),
        (DEPLOYED, 'google_cloudfunctions2_function.this["on_webhook"].name', '"atelier-ops"'),
        (STORAGE, "for_each = var.readers", 'for_each = toset(["allUsers"])'),
    ],
    grants.test_no_role_is_given_in_the_whole_project_where_a_resource_has_it: [
        (DEPLOYED, '"roles/monitoring.metricWriter"', '"roles/editor"'),
        (DEPLOYED, 'google_project_iam_custom_role.vertex["atelierVertex"].id :', '"roles/pubsub.publisher" :'),
    ],
    grants.test_who_asks_models_does_nothing_else_with_vertex: [
        (
            DEPLOYED,
            '["aiplatform.endpoints.predict"]',
            '["aiplatform.endpoints.predict", "aiplatform.customJobs.create"]',
        ),
    ],
    grants.test_another_role_for_models_takes_the_place_of_ours: [
        (DEPLOYED, "> 0 && var.vertex_role == null ?", "> 0 ?"),
        (DEPLOYED, "].id : var.vertex_role", '].id : var.vertex_role == null ? null : "roles/aiplatform.admin"'),
    ],
    grants.test_documents_are_those_of_one_database_and_staged_archives_those_of_one_bucket: [
        (DATABASE, "databases/${google_firestore_database.this.name}", "databases/(default)"),
        ("infra/archive.tf", "buckets/${local.staging_bucket}/", "buckets/gcf-v2-sources-"),
    ],
    grants.test_grants_are_added_one_by_one_and_take_nobody_elses_away: [
        (PUBSUB, '"google_pubsub_topic_iam_member" "upstream"', '"google_pubsub_topic_iam_binding" "upstream"'),
    ],
    grants.test_every_member_is_made_here_or_named_by_a_variable: [
        (STORAGE, "for_each = var.readers", 'for_each = toset(["domain:example.com"])'),
    ],
    builders.test_who_builds_may_not_say_who_may_do_what: [
        (BUILD, '"roles/datastore.indexAdmin"', '"roles/resourcemanager.projectIamAdmin"'),
        (BUILD, '"pubsub.topics.update"', '"pubsub.topics.setIamPolicy"'),
    ],
    builders.test_who_deploys_sets_up_and_neither_calls_nor_publishes_nor_looks_inside: [
        (BUILD, '"run.services.get"', '"run.routes.invoke"'),
        (BUILD, '"run.services.get"', '"run.services.update"'),
        (BUILD, '"pubsub.topics.update"', '"pubsub.topics.publish"'),
        (BUILD, '"cloudfunctions.functions.list"', '"iam.serviceAccounts.list"'),
    ],
    builders.test_a_plan_changes_nothing_and_sees_no_document_object_of_users_or_secret: [
        (BUILD, 'plan   = "roles/storage.objectViewer"', 'plan   = "roles/storage.objectUser"'),
        (BUILD, '"secretmanager.secrets.get"', '"secretmanager.versions.access"'),
    ],
    builders.test_a_plan_may_read_every_kind_of_resource_that_is_made_and_nothing_more: [
        (BUILD, '    "run.services.getIamPolicy",\n', ""),
    ],
    builders.test_a_pull_request_is_planned_by_the_account_that_changes_nothing: [
        (BUILD, "= google_service_account.plan.id", "= google_service_account.deploy.id"),
        (BUILD, '"false"', '"true"'),
    ],
    # ------------------------------------------------------------ indexes, lifetimes
    indexes.test_every_query_of_the_code_has_a_declared_index: [
        (INDEXES, '["state", "-created_at"], ', ""),
        (INDEXES, '"-created_at"', '"created_at"'),
    ],
    indexes.test_every_composite_index_is_asked_by_a_query_of_the_code: [
        (INDEXES, '["follows", "state"]', '["follows", "state"], ["kind", "created_at"]'),
    ],
    indexes.test_terraform_makes_exactly_the_declared_composite_indexes: [
        (DATABASE, '? "DESCENDING" : "ASCENDING"', '? "ASCENDING" : "DESCENDING"'),
        (DATABASE, "for_each   = local.composite_indexes", "for_each   = {}"),
    ],
    indexes.test_an_index_is_left_out_of_a_time_to_live_unless_a_query_is_declared: [
        (DATABASE, '"expire_at") ? [] : [true]', '"expire_at") ? [true] : []'),
    ],
    indexes.test_documents_expire_in_exactly_the_collections_that_say_when: [
        (DATABASE, '"cache", ', ""),
        (DATABASE, '"cache", ', '"cache", "ledger", '),
        (DATABASE, "  ttl_config {}\n", ""),
    ],
    indexes.test_indexes_and_lifetimes_are_of_the_database_that_the_functions_use: [
        (DATABASE, "database   = google_firestore_database.this.name", 'database   = "(default)"'),
    ],
    # ------------------------------------------------------------ places
    places.test_every_api_that_is_needed_is_switched_on_and_stays_on: [
        ("infra/services.tf", '    "pubsub.googleapis.com",\n', ""),
        ("infra/services.tf", "disable_on_destroy = false", "disable_on_destroy = true"),
    ],
    places.test_everything_is_in_the_region_that_was_asked_for: [
        (PUBSUB, "[var.region]", '["us-central1"]'),
        (STORAGE, "= var.region", '= "EU"'),
    ],
    places.test_no_bucket_can_be_opened_to_the_world_and_a_mistake_can_be_undone_for_a_week: [
        (STORAGE, '"enforced"', '"inherited"'),
        ("infra/archive.tf", "uniform_bucket_level_access = true", "uniform_bucket_level_access = false"),
    ],
    places.test_files_and_pieces_are_kept_as_long_as_was_asked_for_and_longer_than_an_event: [
        (STORAGE, "inbox = var.inbox_days", "inbox = 1"),
    ],
    places.test_the_database_is_not_deleted_by_mistake_and_can_be_put_back: [
        (DATABASE, "DELETE_PROTECTION_ENABLED", "DELETE_PROTECTION_DISABLED"),
    ],
    places.test_the_archive_that_is_uploaded_is_the_one_that_runs_and_stays_for_a_way_back: [
        ("infra/archive.tf", '"ABANDON"', '"DELETE"'),
        ("infra/archive.tf", "toset(var.archive == null ? [local.archive] : [])", "toset([local.archive])"),
    ],
    places.test_functions_run_on_the_python_that_the_tests_run_on: [
        (DEPLOYED, '"python311"', '"python313"'),
    ],
    places.test_the_budgets_are_those_that_were_asked_for: [
        (DEPLOYED, "= var.user_daily_budget_usd", "= var.tenant_daily_budget_usd"),
    ],
    places.test_no_alert_is_there_before_what_it_watches: [
        (WATCHED, "    google_cloud_scheduler_job.tick,\n", ""),
        (WATCHED, "    google_pubsub_subscription.function,\n", ""),
    ],
    places.test_an_archive_is_told_of_as_the_running_one_only_when_the_functions_are_deployed: [
        (OUTPUTS, "[google_cloudfunctions2_function.this]", "[google_storage_bucket.source]"),
    ],
    places.test_a_command_line_elsewhere_joins_the_deployment_by_what_terraform_prints: [
        (OUTPUTS, 'if setting != "METRICS_URL"', 'if setting != "BUDGET_SHARDS"'),
        (OUTPUTS, "local.vertex_settings, ", ""),
        (OUTPUTS, "${replace(text, \"'\", \"'\\\\''\")}", "${text}"),
        (OUTPUTS, "='${", "=${"),
        (OUTPUTS, "{ GOOGLE_CLOUD_PROJECT = var.project_id }", "{}"),
    ],
    places.test_the_monthly_budget_is_of_this_project_and_told_to_those_who_hear_of_alerts: [
        ("infra/billing.tf", "[0.5, 0.9, 1]", "[50, 90, 100]"),
    ],
    # ------------------------------------------------------------ metrics, alerts
    alerts.test_terraform_declares_exactly_the_metrics_that_the_code_declares: [
        ("infra/metrics.json", '"dead_letters": {', '"dead_letter": {'),
        (WATCHED, '"custom.googleapis.com/atelier"', '"custom.googleapis.com/pipeline"'),
        (WATCHED, "metric_kind  = each.value.kind", 'metric_kind  = "GAUGE"'),
    ],
    alerts.test_what_is_made_of_the_declarations_is_up_to_date: [
        ("infra/dashboards/grafana.json", "atelier_jobs_finished", "atelier_jobs_done"),
        ("infra/metrics.json", '"ms"', '"s"'),
    ],
    alerts.test_every_question_asks_for_metrics_and_labels_that_are_declared: [
        (ASKED, "atelier_fallbacks{", "atelier_fallback{"),
        (ASKED, "sum by (provider) (", "sum by (vendor) ("),
        (ASKED, "atelier_job_duration_bucket{", "atelier_job_duration{"),
    ],
    alerts.test_a_question_about_waiting_events_names_all_functions_that_get_any: [
        (ASKED, "quality_check|record_cost", "record_cost"),
    ],
    alerts.test_the_dashboard_is_the_one_that_is_made_of_the_table: [
        (WATCHED, "dashboards/cloud_monitoring.json", "dashboards/grafana.json"),
    ],
    alerts.test_every_alert_of_the_table_is_made_and_no_other: [
        (WATCHED, "= local.monitoring.alerts", "= { suspense = local.monitoring.alerts.suspense }"),
    ],
    alerts.test_an_alert_asks_what_the_table_says_for_as_long_as_it_says: [
        (WATCHED, '? ">" : "<"', '? "<" : ">"'),
        (WATCHED, "${each.value.for_s}s", "${each.value.for_s}m"),
    ],
    alerts.test_the_thresholds_are_those_that_were_promised: [
        (ASKED, '"above": 0.2,', '"above": 0.5,'),
    ],
    alerts.test_every_alert_reaches_somebody_and_says_what_it_means_and_what_to_do: [
        (WATCHED, "notification_channels = local.channels", "notification_channels = []"),
        (WATCHED, "${each.value.do}", "Look into it."),
    ],
    alerts.test_every_objective_is_measured_by_declared_metrics_and_missed_by_the_table: [
        (ASKED, '"good": {"metric": "jobs_finished"', '"good": {"metric": "jobs_ended"'),
        (WATCHED, "= each.value.goal", "= 0.5"),
        (WATCHED, "good_service_filter = good_total_ratio.value.good", 'good_service_filter = "good"'),
    ],
    alerts.test_an_objective_that_burns_is_asked_after_at_the_rates_and_windows_of_the_table: [
        (WATCHED, "[burn.long_s, burn.short_s]", "[burn.long_s, burn.long_s]"),
    ],
    security.test_the_readme_says_what_every_function_may_do: [
        ("README.md", "| `quality_check` | `record-cost`, ", "| `quality_check` | "),
        (TABLE, '"publishes": ["generate"]', '"publishes": ["generate", "results"]'),
    ],
    security.test_every_account_that_is_no_functions_has_a_row_and_no_other: [
        ("README.md", "| `atelier-plan` | ", "| `atelier-plans` | "),
        ("infra/archive.tf", '"atelier-build"', '"atelier-builds"'),
    ],
    security.test_the_row_of_one_of_googles_accounts_names_the_topics_it_may_publish_on: [
        (STORAGE, 'this[local.functions["on_upload"].trigger.topic].id\n  role', 'this["requests"].id\n  role'),
    ],
    security.test_every_variable_that_lets_somebody_in_has_a_row_and_no_other: [
        ("README.md", "| `readers` | ", "| `reader` | "),
        (STORAGE, "for_each = var.readers", "for_each = var.alert_emails"),
        (DEPLOYED, 'toset(var.webhook_public ? ["allUsers"] : [])', "toset([])"),
    ],
    security.test_whatever_is_kept_is_kept_for_as_many_days_as_it_says: [
        ("README.md", "| 400 days", "| 40 days"),
        ("infra/variables.tf", "default     = 365", "default     = 180"),
        (DATABASE, "POINT_IN_TIME_RECOVERY_ENABLED", "POINT_IN_TIME_RECOVERY_DISABLED"),
        (PUBSUB, 'message_retention_duration = "604800s"', 'message_retention_duration = "86400s"'),
        (STORAGE, "retention_duration_seconds = 604800", "retention_duration_seconds = 864000"),
    ],
    security.test_what_is_kept_until_somebody_deletes_it_never_expires: [
        (DATABASE, '"cache", ', '"cache", "jobs", '),
    ],
    readme.test_the_generated_tables_are_the_ones_the_code_makes: [
        ("README.md", "| `ops` | HTTP |", "| `ops` | topic `ops` |"),
        (TABLE, '"timeout_s": 240', '"timeout_s": 241'),
    ],
}
