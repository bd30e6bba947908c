# By sh's quotes nothing in a value is replaced or run.
locals {
  joining = merge(
    { for setting, text in merge(local.settings, local.vertex_settings, { CALLS_VENDORS = "false" }) : "ATELIER_${setting}" => text if setting != "METRICS_URL" },
    { GOOGLE_CLOUD_PROJECT = var.project_id },
  )
}

output "archive" {
  description = "The archive that the functions run. To roll back, give an earlier one's name as the variable `archive`."
  value       = local.archive
  depends_on  = [google_cloudfunctions2_function.this] # where one was not deployed, it stays the one before
}

output "environment" {
  description = "What makes a command line elsewhere one of this deployment: eval \"$(terraform -chdir=infra output -raw environment)\". Measurements are not among it: the functions write them."
  value       = join("\n", [for name, text in local.joining : "export ${name}='${replace(text, "'", "'\\''")}'"])
}

output "inbox" {
  description = "Where manifests are put."
  value       = "gs://${google_storage_bucket.data["inbox"].name}"
}

output "ops_url" {
  description = "The ops page, for `operators`: `gcloud run services proxy atelier-ops` serves it on this machine."
  value       = google_cloudfunctions2_function.this["ops"].service_config[0].uri
}

output "outputs" {
  description = "Where pieces are."
  value       = "gs://${google_storage_bucket.data["outputs"].name}"
}

output "requests_topic" {
  description = "Where requests are published."
  value       = google_pubsub_topic.this[local.functions["validate"].trigger.topic].id
}

output "results_topic" {
  description = "Where results come; listen by a subscription of your own."
  value       = google_pubsub_topic.this["results"].id
}

output "secrets" {
  description = "The secret of each setting. Add a version by `gcloud secrets versions add`, then pin its number in `secret_versions`."
  value       = { for name, secret in google_secret_manager_secret.vendor : name => secret.secret_id }
}

output "webhook_url" {
  description = "Where vendors call; null while `webhook_public` is off."
  value       = var.webhook_public ? local.webhook_url : null
}
