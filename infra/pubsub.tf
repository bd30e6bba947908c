# Topics and push subscriptions, all from the wiring table that the local system runs by as well.

locals {
  functions       = jsondecode(file("${path.module}/functions.json"))
  event_functions = { for name, row in local.functions : name => row if can(row.trigger.topic) }

  # `results` is among them only because functions publish to it: it is public, upstream systems bring subscriptions.
  topics = toset(concat(
    [for row in values(local.event_functions) : row.trigger.topic],
    flatten([for row in values(local.functions) : row.publishes]),
  ))

  publications = merge([
    for name, row in local.functions : { for topic in row.publishes : "${name}/${topic}" => { function = name, topic = topic } }
  ]...)

  dead_letter_topic = local.event_functions["on_dead_letter"].trigger.topic

  # All but the last resort itself: what it cannot handle stays with it until it is mended.
  dead_lettering = toset([
    for name, row in local.event_functions : name if row.trigger.topic != local.dead_letter_topic
  ])

  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "this" {
  #checkov:skip=CKV_GCP_83:Google's own keys encrypt it; a key of one's own is left out on purpose.
  for_each = local.topics
  name     = each.value

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.this]
}

# ---------------------------------------------------------------- who publishes

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publications
  topic    = google_pubsub_topic.this[each.value.topic].id
  role     = "roles/pubsub.publisher"
  member   = "serviceAccount:${google_service_account.function[each.value.function].email}"
}

resource "google_pubsub_topic_iam_member" "upstream" {
  for_each = var.publishers
  topic    = google_pubsub_topic.this[local.functions["validate"].trigger.topic].id
  role     = "roles/pubsub.publisher"
  member   = each.value
}

# ---------------------------------------------------------------- pushes

resource "google_pubsub_subscription" "function" {
  for_each = local.event_functions
  name     = each.key
  topic    = google_pubsub_topic.this[each.value.trigger.topic].id

  ack_deadline_seconds       = each.value.ack_deadline_s # also how long a push waits for its answer
  message_retention_duration = "604800s"

  # The default deletes a subscription that was idle for 31 days, and with it the topic's only reader.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "${each.value.min_backoff_s}s"
    maximum_backoff = "${each.value.max_backoff_s}s"
  }

  dynamic "dead_letter_policy" {
    for_each = contains(local.dead_lettering, each.key) ? [each.value.max_delivery_attempts] : []
    content {
      dead_letter_topic     = google_pubsub_topic.this[local.dead_letter_topic].id
      max_delivery_attempts = dead_letter_policy.value
    }
  }

  push_config {
    push_endpoint = google_cloudfunctions2_function.this[each.key].service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = google_cloudfunctions2_function.this[each.key].service_config[0].uri
    }
  }

  # A push that is not let in is a delivery that failed.
  depends_on = [
    google_cloud_run_service_iam_member.push,
    google_pubsub_topic_iam_member.dead_letter_publisher,
    google_service_account_iam_member.push_token,
  ]
}

# Forwarding to the dead-letter topic needs both grants; without either it silently never happens.
resource "google_pubsub_topic_iam_member" "dead_letter_publisher" {
  topic  = google_pubsub_topic.this[local.dead_letter_topic].id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letter_subscriber" {
  for_each     = local.dead_lettering
  subscription = google_pubsub_subscription.function[each.value].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

resource "google_service_account" "push" {
  account_id   = "atelier-push"
  display_name = "Identity of Pub/Sub's pushes to the functions"
  depends_on   = [google_project_service.this]
}

# Granted by itself only in projects made after April 2021. Pub/Sub's own account is there once there is a topic.
resource "google_service_account_iam_member" "push_token" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
  depends_on         = [google_pubsub_topic.this]
}
