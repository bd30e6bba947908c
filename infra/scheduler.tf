# What starts by the clock: the functions that have a schedule, and requests of the users' own.
# Scheduler delivers at least once: a tick that comes twice finds nothing due, a request that comes twice is two jobs.

resource "google_cloud_scheduler_job" "tick" {
  for_each    = { for name, row in local.event_functions : name => row if can(row.trigger.schedule) }
  name        = local.ids[each.key]
  description = "Starts ${each.key}"
  region      = var.region
  schedule    = each.value.trigger.schedule
  time_zone   = "Etc/UTC"

  pubsub_target {
    topic_name = google_pubsub_topic.this[each.value.trigger.topic].id
    data       = base64encode(jsonencode({ by = "scheduler" })) # a message needs something in it
  }

  depends_on = [google_project_service.this]
}

resource "google_cloud_scheduler_job" "request" {
  for_each    = var.schedules
  name        = "atelier-request-${each.key}"
  description = "Publishes one request"
  region      = var.region
  schedule    = each.value.cron
  time_zone   = each.value.time_zone

  retry_config {
    retry_count = 3
  }

  pubsub_target {
    topic_name = google_pubsub_topic.this[local.functions["validate"].trigger.topic].id
    data       = base64encode(each.value.request)
  }

  depends_on = [google_project_service.this]
}
