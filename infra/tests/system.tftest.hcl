# What the variables make of the wiring table: with nothing but a project, and with all that can be switched on. What the
# table itself makes, tests/deploy compares with the code.

variables {
  project_id = "project-1"
}

run "a_project_is_all_that_has_to_be_given" {
  command = plan

  assert {
    condition     = alltrue([for account in google_service_account.function : length(account.account_id) >= 6 && length(account.account_id) <= 30])
    error_message = "An account's id has 6 to 30 characters: cloud.google.com/iam/docs/service-accounts-create"
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.this : tonumber(trimsuffix(function.service_config[0].available_memory, "Mi")) <= 4096])
    error_message = "More than 4 GiB need more than one CPU."
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
    condition     = length(google_cloud_run_service_iam_member.webhook) == 0 && length(google_cloud_run_service_iam_member.operator) == 0 && output.webhook_url == null
    error_message = "Nobody is let in unasked."
  }
  assert {
    condition     = keys(google_storage_bucket_object.archive) == [output.archive]
    error_message = "This checkout's archive is uploaded."
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
    settings        = { MAX_ATTEMPTS = "3", BUDGET_SHARDS = "16", SOFT_LIMIT = 0.5, REWRITE_WHEN_BLOCKED = true }
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
    condition     = [for grant in google_cloud_run_service_iam_member.webhook : "${grant.service} ${grant.member}"] == ["atelier-on-webhook allUsers"]
    error_message = "Everybody may call on_webhook, and nothing else."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["generate"].service_config[0].environment_variables["ATELIER_WEBHOOK_URL"] == output.webhook_url && can(regex("^https://atelier-on-webhook-[^/]+\\.europe-west1\\.run\\.app$", output.webhook_url))
    error_message = "generate tells vendors where on_webhook is."
  }
  assert {
    condition     = length(google_project_iam_member.vertex) == 0 && length(google_project_iam_custom_role.vertex) == 0 && !contains(keys(google_cloudfunctions2_function.this["generate"].service_config[0].environment_variables), "ATELIER_VERTEX_PROJECT")
    error_message = "Vertex AI is out of reach where it is not among the vendors."
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
    condition     = google_cloudfunctions2_function.this["validate"].service_config[0].environment_variables["ATELIER_MAX_ATTEMPTS"] == "3" && google_cloudfunctions2_function.this["record_cost"].service_config[0].environment_variables["ATELIER_BUDGET_SHARDS"] == "16"
    error_message = "Further settings reach every function and go before defaults."
  }
}
