output "archive" {
  description = "The archive that the functions run. To roll back, give an earlier one's name as the variable `archive`."
  value       = local.archive
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
