# Values that are refused before anything is planned. A variable fails in one way per run, so that every rule is seen;
# one whose rule looks at another variable is only looked at when that other one is right.

variables {
  project_id = "project-1"
}

run "wrong_words" {
  command = plan

  variables {
    alert_emails            = ["on call"]
    alert_thresholds        = { latency = 900 }
    archive                 = "atelier.zip"
    billing_account         = "012345"
    daily_budget_usd        = "1,000"
    database                = "Jobs"
    tenant_daily_budget_usd = "-5"
    user_daily_budget_usd   = "0.0000001"
    inbox_days              = 7
    input_buckets           = ["gs://pictures"]
    monthly_budget          = 0.5
    operators               = ["allUsers"]
    project_id              = "My project"
    publishers              = ["allAuthenticatedUsers"]
    readers                 = ["ann@example.com"]
    region                  = "eu"
    repository              = "https://github.com/somebody/atelier"
    runbook_url             = "README.md"
    scaling                 = { generator = { max_instances = 1 } }
    schedules               = { Morning = { cron = "0 6 * * *", request = "{\"kind\": \"text\", \"prompt\": \"The harbour\"}" } }
    secret_versions         = { OPENAI_KEY = 1 }
    settings                = { MAX_ATEMPTS = "3" }
    vertex_role             = "roles/owner"
  }

  expect_failures = [
    var.alert_emails,
    var.alert_thresholds,
    var.archive,
    var.billing_account,
    var.daily_budget_usd,
    var.database,
    var.tenant_daily_budget_usd,
    var.user_daily_budget_usd,
    var.inbox_days,
    var.input_buckets,
    var.monthly_budget,
    var.operators,
    var.project_id,
    var.publishers,
    var.readers,
    var.region,
    var.repository,
    var.runbook_url,
    var.scaling,
    var.schedules,
    var.secret_versions,
    var.settings,
    var.vertex_role,
  ]
}

run "figures_out_of_range" {
  command = plan

  variables {
    database        = "atelier-"
    input_buckets   = ["Pictures"]
    project_id      = "123456789012"
    scaling         = { generate = { concurrency = 0 } }
    schedules       = { morning = { cron = "6 o'clock", request = "{\"kind\": \"text\", \"prompt\": \"The harbour\"}" } }
    secret_versions = { HUGGINGFACE_TOKEN = 0 }
    settings        = { RUNWAY_API_SECRET = "key_1" }
    vertex_role     = "aiplatform.user"
  }

  expect_failures = [
    var.database,
    var.input_buckets,
    var.project_id,
    var.scaling,
    var.schedules,
    var.secret_versions,
    var.settings,
    var.vertex_role,
  ]
}

run "what_is_none" {
  command = plan

  variables {
    scaling   = { ops = { min_instances = 4 } } # of 3 at most
    schedules = { morning = { cron = "0 6 * * *", request = "[\"kind\", \"prompt\"]" } }
    settings  = { PROVIDERS = "offline" }
    vendors   = ["vertx"]
  }

  expect_failures = [var.scaling, var.schedules, var.settings, var.vendors]
}

run "what_does_not_go_together" {
  command = plan

  variables {
    outputs_days    = 365
    repository      = "projects/project-1/locations/europe-west1/connections/ours/repositories/atelier"
    schedules       = { morning = { cron = "0 6 * * *", request = "{\"kind\": \"text\", \"prompt\": \"The harbour\", \"request_id\": \"1\"}" } }
    secret_versions = { RUNWAY_API_SECRET = 1 }
    settings        = { CACHE_S = "31536000" }
    vendors         = ["runway"] # which has no model for the smoke test
    webhook_public  = true
  }

  expect_failures = [var.outputs_days, var.schedules, var.vendors, var.webhook_public]
}

run "no_number_and_no_key" {
  command = plan

  variables {
    settings = { CACHE_S = "a week" }
    vendors  = ["vertex", "runway"]
  }

  expect_failures = [var.settings, var.vendors]
}

run "no_switch" {
  command = plan

  variables {
    settings = { REWRITE_WHEN_BLOCKED = "yes" }
  }

  expect_failures = [var.settings]
}
