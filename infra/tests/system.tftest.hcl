# What the wiring table becomes, with nothing but a project and with all that can be switched on.

variables {
  project_id = "project-1"
}

run "a_project_is_all_that_has_to_be_given" {
  command = plan

  assert {
    condition     = toset(keys(google_cloudfunctions2_function.this)) == toset(keys(local.functions)) && toset(keys(google_service_account.function)) == toset(keys(local.functions))
    error_message = "Every row of the table is a function with an account of its own."
  }
  assert {
    condition     = alltrue([for name, function in google_cloudfunctions2_function.this : function.name == "atelier-${replace(name, "_", "-")}" && google_service_account.function[name].account_id == function.name])
    error_message = "A function and its account have the same name."
  }
  assert {
    condition     = alltrue([for account in google_service_account.function : length(account.account_id) >= 6 && length(account.account_id) <= 30])
    error_message = "An account's id has 6 to 30 characters: cloud.google.com/iam/docs/service-accounts-create"
  }
  assert {
    condition     = alltrue([for name, row in local.functions : can(row.trigger.topic) == contains(keys(google_pubsub_subscription.function), name)])
    error_message = "Exactly the functions that have a topic have a subscription."
  }
  assert {
    condition     = alltrue([for name in keys(google_pubsub_subscription.function) : contains(keys(google_cloud_run_service_iam_member.push), name)])
    error_message = "Pub/Sub may call every function that it pushes to."
  }
  assert {
    condition     = alltrue([for name, subscription in google_pubsub_subscription.function : subscription.ack_deadline_seconds > google_cloudfunctions2_function.this[name].service_config[0].timeout_seconds])
    error_message = "An event is not delivered again while the function may still be at it."
  }
  assert {
    condition     = alltrue([for name, function in google_cloudfunctions2_function.this : function.service_config[0].ingress_settings == (contains(keys(local.event_functions), name) ? "ALLOW_INTERNAL_ONLY" : "ALLOW_ALL")])
    error_message = "Functions that answer a topic are not reached from outside."
  }
  assert {
    condition     = alltrue([for name, function in google_cloudfunctions2_function.this : function.service_config[0].environment_variables["THREADS"] == tostring(local.functions[name].concurrency)])
    error_message = "An instance has a thread for every request that it is given at once."
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.this : tonumber(trimsuffix(function.service_config[0].available_memory, "Mi")) <= 4096])
    error_message = "More than 4 GiB need more than one CPU."
  }
  assert {
    condition     = [for name, function in google_cloudfunctions2_function.this : name if lookup(function.service_config[0].environment_variables, "ATELIER_CALLS_VENDORS", "true") != "false"] == ["generate"]
    error_message = "Only generate calls vendors."
  }
  assert {
    condition     = keys(google_project_iam_member.vertex) == ["generate"] && google_cloudfunctions2_function.this["generate"].service_config[0].environment_variables["ATELIER_VERTEX_PROJECT"] == "project-1"
    error_message = "Only generate may call Vertex AI, in this project."
  }
  assert {
    condition     = length(google_service_account_iam_member.signer) == 0
    error_message = "Vertex AI reads inputs itself: nobody signs links for it."
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.this : length(function.service_config[0].secret_environment_variables) == 0])
    error_message = "No secret without a version."
  }
  assert {
    condition     = toset(keys(google_secret_manager_secret.vendor)) == toset(flatten([for row in values(local.functions) : row.secrets]))
    error_message = "Every secret has its container from the start, so that a version can be added."
  }
  assert {
    condition     = length(google_cloud_run_service_iam_member.webhook) == 0 && length(google_cloud_run_service_iam_member.operator) == 0 && output.webhook_url == null
    error_message = "Nobody is let in unasked."
  }
  assert {
    condition     = !anytrue([for function in google_cloudfunctions2_function.this : contains(keys(function.service_config[0].environment_variables), "ATELIER_WEBHOOK_URL")])
    error_message = "No vendor is told to call."
  }
  assert {
    condition     = keys(google_storage_bucket_object.archive) == [output.archive] && google_storage_bucket_object.archive[output.archive].deletion_policy == "ABANDON"
    error_message = "This checkout's archive is uploaded, and stays when the next one comes."
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.this : function.build_config[0].source[0].storage_source[0].object == output.archive])
    error_message = "All functions run the same archive."
  }
  assert {
    condition     = toset([for key in keys(google_storage_bucket_iam_member.function) : key if startswith(key, "generate/")]) == toset(["generate/inbox/roles/storage.objectViewer", "generate/outputs/roles/storage.objectCreator", "generate/outputs/roles/storage.objectViewer"])
    error_message = "generate reads inputs and makes pieces, and can neither overwrite nor delete one."
  }
  assert {
    condition     = toset(keys(google_pubsub_topic_iam_member.publisher)) == toset(flatten([for name, row in local.functions : [for topic in row.publishes : "${name}/${topic}"]]))
    error_message = "A function may publish to the topics of its row, and to no other."
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.documents : grant.condition[0].expression == "resource.name == \"projects/project-1/databases/atelier\""])
    error_message = "Documents of other databases are out of reach."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.data : bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced"])
    error_message = "Buckets cannot be made public."
  }
  assert {
    condition     = keys(google_cloud_scheduler_job.tick) == ["on_tick"] && length(google_cloud_scheduler_job.request) == 0
    error_message = "The clock starts the tick, and nothing else."
  }
}

run "everything_but_vertex_switched_on" {
  command = plan

  variables {
    archive         = "archives/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.zip"
    vendors         = ["runway", "replicate", "huggingface"]
    secret_versions = { RUNWAY_API_SECRET = 3, REPLICATE_API_TOKEN = 1, REPLICATE_WEBHOOK_SECRETS = 2, HUGGINGFACE_TOKEN = 1 }
    webhook_public  = true
    scaling         = { generate = { min_instances = 1, concurrency = 2 }, ops = { max_instances = 1 } }
    schedules       = { morning = { cron = "0 6 * * *", request = "{\"kind\": \"text\", \"prompt\": \"The harbour\"}", time_zone = "Europe/Berlin" } }
    settings        = { MAX_ATTEMPTS = "3", BUDGET_SHARDS = "16" }
    publishers      = ["serviceAccount:shop@elsewhere.iam.gserviceaccount.com"]
    readers         = ["group:editors@example.com"]
    operators       = ["group:team@example.com"]
    input_buckets   = ["pictures"]
  }

  assert {
    condition     = length(google_storage_bucket_object.archive) == 0 && output.archive == var.archive && alltrue([for function in google_cloudfunctions2_function.this : function.build_config[0].source[0].storage_source[0].object == var.archive])
    error_message = "Rolling back uploads nothing and runs the archive that was named."
  }
  assert {
    condition     = { for secret in google_cloudfunctions2_function.this["generate"].service_config[0].secret_environment_variables : secret.key => "${secret.secret}:${secret.version}" } == { ATELIER_HUGGINGFACE_TOKEN = "atelier-huggingface-token:1", ATELIER_REPLICATE_API_TOKEN = "atelier-replicate-api-token:1", ATELIER_REPLICATE_WEBHOOK_SECRETS = "atelier-replicate-webhook-secrets:2", ATELIER_RUNWAY_API_SECRET = "atelier-runway-api-secret:3" }
    error_message = "generate gets every secret at its pinned version."
  }
  assert {
    condition     = toset(flatten([for name, function in google_cloudfunctions2_function.this : [for secret in function.service_config[0].secret_environment_variables : "${name}/${trimprefix(secret.key, "ATELIER_")}"]])) == toset(keys(google_secret_manager_secret_iam_member.function))
    error_message = "A function gets the secrets it may read, and no other."
  }
  assert {
    condition     = [for grant in google_cloud_run_service_iam_member.webhook : "${grant.service} ${grant.member}"] == ["atelier-on-webhook allUsers"]
    error_message = "Everybody may call on_webhook, and nothing else."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["generate"].service_config[0].environment_variables["ATELIER_WEBHOOK_URL"] == output.webhook_url && can(regex("^https://atelier-on-webhook-[^/]+\\.europe-west1\\.run\\.app$", output.webhook_url))
    error_message = "generate tells vendors where on_webhook is."
  }
  assert {
    condition     = length(google_project_iam_member.vertex) == 0 && !contains(keys(google_cloudfunctions2_function.this["generate"].service_config[0].environment_variables), "ATELIER_VERTEX_PROJECT")
    error_message = "Vertex AI is out of reach where it is not among the vendors."
  }
  assert {
    condition     = keys(google_service_account_iam_member.signer) == ["generate"]
    error_message = "generate signs links as itself."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["generate"].service_config[0].min_instance_count == 1 && google_cloudfunctions2_function.this["generate"].service_config[0].max_instance_count == local.functions["generate"].max_instances
    error_message = "What is not overridden stays as in the table."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["generate"].service_config[0].max_instance_request_concurrency == 2 && google_cloudfunctions2_function.this["generate"].service_config[0].environment_variables["THREADS"] == "2"
    error_message = "Threads follow the concurrency that was overridden."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["ops"].service_config[0].max_instance_count == 1 && google_cloudfunctions2_function.this["validate"].service_config[0].min_instance_count == 0
    error_message = "An override is for the function it names."
  }
  assert {
    condition     = jsondecode(base64decode(google_cloud_scheduler_job.request["morning"].pubsub_target[0].data)) == { kind = "text", prompt = "The harbour" } && google_cloud_scheduler_job.request["morning"].time_zone == "Europe/Berlin"
    error_message = "Scheduler publishes the request as it was written."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["validate"].service_config[0].environment_variables["ATELIER_MAX_ATTEMPTS"] == "3" && google_cloudfunctions2_function.this["record_cost"].service_config[0].environment_variables["ATELIER_BUDGET_SHARDS"] == "16"
    error_message = "Further settings reach every function and go before defaults."
  }
  assert {
    condition     = [for grant in google_storage_bucket_iam_member.upstream : "${grant.bucket} ${grant.role}"] == ["project-1-inbox roles/storage.objectUser"] && [for grant in google_pubsub_topic_iam_member.upstream : grant.role] == ["roles/pubsub.publisher"]
    error_message = "Upstream publishes requests and writes to the inbox, and no more."
  }
  assert {
    condition     = [for grant in google_storage_bucket_iam_member.reader : "${grant.bucket} ${grant.role} ${grant.member}"] == ["project-1-outputs roles/storage.objectViewer group:editors@example.com"]
    error_message = "Readers read pieces, and no more."
  }
  assert {
    condition     = [for grant in google_cloud_run_service_iam_member.operator : "${grant.service} ${grant.member}"] == ["atelier-ops group:team@example.com"]
    error_message = "Operators open the ops page, and nothing else."
  }
  assert {
    condition     = { for key, grant in google_storage_bucket_iam_member.input : key => "${grant.bucket} ${grant.role}" } == { "generate/pictures" = "pictures roles/storage.objectViewer" }
    error_message = "generate may read the inputs in buckets that are named."
  }
}
