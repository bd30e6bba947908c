# The buckets of manifests and pieces, who is told of a manifest, and who may read and write.

locals {
  kept_days = { inbox = var.inbox_days, outputs = var.outputs_days }

  # `create` may neither overwrite nor delete: a piece that is there stays as it is.
  object_roles = {
    create  = ["roles/storage.objectCreator", "roles/storage.objectViewer"]
    read    = ["roles/storage.objectViewer"]
    replace = ["roles/storage.objectUser"]
  }

  object_grants = merge(flatten([
    for name, row in local.functions : [
      for bucket, access in row.objects : {
        for role in local.object_roles[access] : "${name}/${bucket}/${role}" => { function = name, bucket = bucket, role = role }
      }
    ]
  ])...)

  input_grants = merge([
    for name in keys(local.callers) : { for bucket in var.input_buckets : "${name}/${bucket}" => { function = name, bucket = bucket } }
  ]...)
}

resource "google_storage_bucket" "data" {
  #checkov:skip=CKV_GCP_62:Who reads what is for the audit log's data access entries, which cost by volume and are the project's own choice.
  #checkov:skip=CKV_GCP_78:Soft deletion brings back what was deleted or overwritten for a week; versions would have to be cleaned up besides.
  for_each                    = local.kept_days
  name                        = "${var.project_id}-${each.key}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = each.value
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  depends_on = [google_project_service.this]
}

# ---------------------------------------------------------------- notifications

data "google_storage_project_service_account" "this" {
  project = var.project_id
}

resource "google_pubsub_topic_iam_member" "inbox" {
  topic  = google_pubsub_topic.this[local.functions["on_upload"].trigger.topic].id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
}

resource "google_storage_notification" "inbox" {
  bucket         = google_storage_bucket.data[local.functions["on_upload"].trigger.bucket].name
  topic          = google_pubsub_topic.this[local.functions["on_upload"].trigger.topic].id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]
  depends_on     = [google_pubsub_topic_iam_member.inbox]
}

# ---------------------------------------------------------------- grants

resource "google_storage_bucket_iam_member" "function" {
  for_each = local.object_grants
  bucket   = google_storage_bucket.data[each.value.bucket].name
  role     = each.value.role
  member   = "serviceAccount:${google_service_account.function[each.value.function].email}"
}

resource "google_storage_bucket_iam_member" "input" {
  for_each = local.input_grants
  bucket   = each.value.bucket
  role     = "roles/storage.objectViewer"
  member   = "serviceAccount:${google_service_account.function[each.value.function].email}"
}

# To write a file again under its name is to replace an object.
resource "google_storage_bucket_iam_member" "upstream" {
  for_each = var.publishers
  bucket   = google_storage_bucket.data["inbox"].name
  role     = "roles/storage.objectUser"
  member   = each.value
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = var.readers
  bucket   = google_storage_bucket.data["outputs"].name
  role     = "roles/storage.objectViewer"
  member   = each.value
}
