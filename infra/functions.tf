# Every function of the wiring table: its account, what it may do beside documents, topics, buckets and secrets, which
# are granted where those are, and who may call it. Their logs are the platform's: what they print needs no role.

locals {
  ids = { for name in keys(local.functions) : name => "atelier-${replace(name, "_", "-")}" }

  scaling = {
    for name, row in local.functions : name => {
      min_instances = coalesce(try(var.scaling[name].min_instances, null), 0)
      max_instances = coalesce(try(var.scaling[name].max_instances, null), row.max_instances)
      concurrency   = coalesce(try(var.scaling[name].concurrency, null), row.concurrency)
    }
  }

  callers        = { for name, row in local.functions : name => row if row.calls_vendors } # of vendors
  vertex_callers = { for name, row in local.callers : name => row if contains(var.vendors, "vertex") }

  # Where a role is named, none is made.
  vertex_roles = toset(length(local.vertex_callers) > 0 && var.vertex_role == null ? ["atelierVertex"] : [])

  # The secret without which a vendor cannot be called.
  vendor_secrets = {
    huggingface = "HUGGINGFACE_TOKEN"
    replicate   = "REPLICATE_API_TOKEN"
    runway      = "RUNWAY_API_SECRET"
  }

  # Known before the service is: a function that names another's address would else wait for itself, as all of them are
  # one resource. cloud.google.com/run/docs/triggering/https-request#deterministic
  webhook_url = "https://${local.ids["on_webhook"]}-${data.google_project.this.number}.${var.region}.run.app"

  # By the settings' names without ATELIER_.
  settings = merge({ BUDGET_SHARDS = "8" }, var.settings, {
    BLOBS_URL               = "gs://${var.project_id}"
    BUS_URL                 = "pubsub://${var.project_id}"
    DAILY_BUDGET_USD        = var.daily_budget_usd
    METRICS_URL             = "monitoring://${var.project_id}"
    PROVIDERS               = join(",", var.vendors)
    STATE_URL               = "firestore://${var.project_id}/${var.database}"
    TENANT_DAILY_BUDGET_USD = var.tenant_daily_budget_usd
    USER_DAILY_BUDGET_USD   = var.user_daily_budget_usd
  })

  vertex_settings  = contains(var.vendors, "vertex") ? tomap({ VERTEX_PROJECT = var.project_id }) : tomap({})
  webhook_settings = var.webhook_public ? tomap({ WEBHOOK_URL = local.webhook_url }) : tomap({})
  vendor_settings  = merge(local.vertex_settings, local.webhook_settings)

  own_settings = {
    for name, row in local.functions : name => row.calls_vendors ? local.vendor_settings : tomap({ CALLS_VENDORS = "false" })
  }

  environments = {
    for name, row in local.functions : name => merge(
      { for setting, text in merge(local.settings, local.own_settings[name]) : "ATELIER_${setting}" => text },
      # The platform adds LOG_EXECUTION_ID where it is missing, which were a difference at every plan. `shared` is imported
      # from the archive's root. Functions Framework's own number of threads is four per CPU.
      {
        GOOGLE_CLOUD_PROJECT = var.project_id
        LOG_EXECUTION_ID     = "true"
        PYTHONPATH           = "."
        THREADS              = tostring(local.scaling[name].concurrency)
      },
    )
  }

  # The form of each setting's value, by the type that the code declares. A name it does not know, or a value it cannot
  # read, stops every function, and the archive before is stopped by it as well.
  typed_settings = { bool = "^(true|false)$", float = "^[0-9]+(\\.[0-9]+)?$", int = "^[0-9]+$" }
  known_settings = {
    for found in regexall("(?m)^    (\\w+): (.*) = setting\\b", file("${path.module}/../shared/settings.py")) :
    upper(found[0]) => lookup(local.typed_settings, found[1], "")
  }

  # Given by variables of their own or by secrets. With PUSH_AUDIENCE, every event is refused behind Cloud Run's check.
  reserved_settings = toset(concat(tolist(local.secrets), [
    "BLOBS_URL",
    "BUS_URL",
    "CALLS_VENDORS",
    "DAILY_BUDGET_USD",
    "METRICS_URL",
    "PROVIDERS",
    "PUSH_AUDIENCE",
    "STATE_URL",
    "TENANT_DAILY_BUDGET_USD",
    "USER_DAILY_BUDGET_USD",
    "VERTEX_PROJECT",
    "WEBHOOK_URL",
  ]))
}

resource "google_service_account" "function" {
  for_each     = local.functions
  account_id   = local.ids[each.key]
  display_name = "Runs the function ${each.key}"
  depends_on   = [google_project_service.this]
}

resource "google_cloudfunctions2_function" "this" {
  #checkov:skip=CKV_GCP_124:Functions that answer a topic are internal; ops and on_webhook are called from outside, behind their grants.
  for_each    = local.functions
  name        = local.ids[each.key]
  location    = var.region
  description = can(each.value.trigger.topic) ? "Answers the topic ${each.value.trigger.topic}" : "Answers HTTP"

  build_config {
    runtime               = "python311" # what the tests run on
    entry_point           = each.value.entry_point
    service_account       = google_service_account.build.id
    docker_repository     = google_artifact_registry_repository.functions.id
    environment_variables = { GOOGLE_FUNCTION_SOURCE = each.value.source }

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = local.archive
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.function[each.key].email
    available_cpu                    = "1" # for concurrency and up to 4 GiB: cloud.google.com/run/docs/configuring/services/cpu
    available_memory                 = "${each.value.memory_mib}Mi"
    timeout_seconds                  = each.value.timeout_s
    min_instance_count               = local.scaling[each.key].min_instances
    max_instance_count               = local.scaling[each.key].max_instances
    max_instance_request_concurrency = local.scaling[each.key].concurrency
    all_traffic_on_latest_revision   = true
    environment_variables            = local.environments[each.key]

    # Pub/Sub's pushes come from inside: cloud.google.com/run/docs/securing/ingress. The others are called from outside,
    # by those whom their grants let in.
    ingress_settings = can(each.value.trigger.topic) ? "ALLOW_INTERNAL_ONLY" : "ALLOW_ALL"

    dynamic "secret_environment_variables" {
      for_each = { for secret in each.value.secrets : secret => var.secret_versions[secret] if contains(keys(var.secret_versions), secret) }
      content {
        key        = "ATELIER_${secret_environment_variables.key}"
        project_id = var.project_id
        secret     = google_secret_manager_secret.vendor[secret_environment_variables.key].secret_id
        version    = tostring(secret_environment_variables.value)
      }
    }
  }

  # The build reads, writes and logs from its first second; the first request uses every grant, and its queries need
  # their indexes.
  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_firestore_index.composite,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_staging,
    google_project_iam_member.documents,
    google_project_iam_member.metrics,
    google_project_iam_member.vertex,
    google_pubsub_topic_iam_member.publisher,
    google_secret_manager_secret_iam_member.function,
    google_service_account_iam_member.signer,
    google_storage_bucket_iam_member.build,
    google_storage_bucket_iam_member.function,
    google_storage_bucket_iam_member.input,
    google_storage_bucket_object.archive,
  ]
}

# ---------------------------------------------------------------- what they may do in the whole project

# No finer level exists for measurements, which only the runtime of events takes.
resource "google_project_iam_member" "metrics" {
  for_each = local.event_functions
  project  = var.project_id
  role     = "roles/monitoring.metricWriter"
  member   = "serviceAccount:${google_service_account.function[each.key].email}"
}

# What it takes to ask models. roles/aiplatform.user may also start jobs, and their code runs as Vertex AI's agent for
# custom code, which gets tokens of every account of the project (iam.serviceAccounts.getAccessToken in
# roles/aiplatform.customCodeServiceAgent: github.com/iann0036/iam-dataset, gcp/roles).
#
# Prompts demand `predict`: cloud.google.com/vertex-ai/generative-ai/docs/access-control. Confirmed nowhere: that it does
# for fetchPredictOperation, by which a clip of Veo is asked after; where Google answers 403, var.vertex_role names
# another. Gemini Omni, which the catalogue has only by name, demands aiplatform.interactions.{create,get,cancel}
# (docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rpc/): left out, since a role that names a
# permission Google does not let it hold cannot be made at all.
resource "google_project_iam_custom_role" "vertex" {
  for_each    = local.vertex_roles
  role_id     = each.value
  title       = "Atelier: ask models"
  description = "Asks Google's models and does nothing else with Vertex AI"
  depends_on  = [google_project_service.this]

  permissions = ["aiplatform.endpoints.predict"]
}

# No finer level than the project exists for models that are Google's own.
resource "google_project_iam_member" "vertex" {
  for_each = local.vertex_callers
  project  = var.project_id
  role     = var.vertex_role == null ? google_project_iam_custom_role.vertex["atelierVertex"].id : var.vertex_role
  member   = "serviceAccount:${google_service_account.function[each.key].email}"
}

# A vendor outside Google reads a large input by a link that the function's own account signs.
resource "google_service_account_iam_member" "signer" {
  for_each           = { for name, row in local.callers : name => row if length(setsubtract(var.vendors, ["vertex"])) > 0 }
  service_account_id = google_service_account.function[each.key].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = "serviceAccount:${google_service_account.function[each.key].email}"
}

# ---------------------------------------------------------------- who may call them

resource "google_cloud_run_service_iam_member" "push" {
  for_each = local.event_functions
  service  = google_cloudfunctions2_function.this[each.key].name
  location = google_cloudfunctions2_function.this[each.key].location
  role     = "roles/run.invoker"
  member   = "serviceAccount:${google_service_account.push.email}"
}

resource "google_cloud_run_service_iam_member" "operator" {
  for_each = { for member in var.operators : "ops ${member}" => member }
  service  = google_cloudfunctions2_function.this["ops"].name
  location = google_cloudfunctions2_function.this["ops"].location
  role     = "roles/run.invoker"
  member   = each.value
}

# A vendor has no Google account. The function verifies the signature of every call.
resource "google_cloud_run_service_iam_member" "webhook" {
  #checkov:skip=CKV_GCP_102:Off unless webhook_public says so; an unsigned call is answered 401.
  for_each = toset(var.webhook_public ? ["allUsers"] : [])
  service  = google_cloudfunctions2_function.this["on_webhook"].name
  location = google_cloudfunctions2_function.this["on_webhook"].location
  role     = "roles/run.invoker"
  member   = each.value
}
