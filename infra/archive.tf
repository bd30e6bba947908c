# What the functions are built from, what they are built into, and who builds them.

locals {
  archive_file = "${path.module}/../.build/atelier.zip"

  # Named by its content: the same name means the same code, another one makes every function a new revision.
  # Where there is no file, the validation of `archive` says so before anything uses the name.
  archive = var.archive == null ? "archives/${try(filesha256(local.archive_file), "missing")}.zip" : var.archive

  uploads = toset(var.archive == null ? [local.archive] : [])

  # Cloud Functions copies an archive there before it is built, and makes the bucket itself with the first function.
  # cloud.google.com/functions/docs/building
  staging_bucket = "gcf-v2-sources-${data.google_project.this.number}-${var.region}"
}

resource "google_storage_bucket" "source" {
  #checkov:skip=CKV_GCP_62:The audit log names who changes the bucket; its objects are code that the repository has.
  #checkov:skip=CKV_GCP_78:An object's name holds the hash of its content, so no object has a second version.
  name                        = "${var.project_id}-atelier-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_object" "archive" {
  for_each        = local.uploads
  name            = each.value
  bucket          = google_storage_bucket.source.name
  source          = local.archive_file
  deletion_policy = "ABANDON" # the next archive takes its place here, but rolling back needs it in the bucket
}

resource "google_artifact_registry_repository" "functions" {
  #checkov:skip=CKV_GCP_84:Google's own keys encrypt it; a key of one's own is left out on purpose.
  repository_id = "atelier-functions"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the functions, made by their builds"

  # Keeping wins over deleting. A revision that serves runs from a copy of its image.
  # cloud.google.com/artifact-registry/docs/repositories/cleanup-policy, cloud.google.com/run/docs/deploying
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_service_account" "build" {
  account_id   = "atelier-build"
  display_name = "Builds the functions' images"
  depends_on   = [google_project_service.this]
}

# cloud.google.com/functions/docs/securing/build-custom-sa names the three roles.
resource "google_project_iam_member" "build_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = "serviceAccount:${google_service_account.build.email}"
}

resource "google_artifact_registry_repository_iam_member" "build" {
  repository = google_artifact_registry_repository.functions.name
  location   = google_artifact_registry_repository.functions.location
  role       = "roles/artifactregistry.writer"
  member     = "serviceAccount:${google_service_account.build.email}"
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_service_account.build.email}"
}

# On the project, because that bucket is not there before the first build, which fails without the grant.
# github.com/hashicorp/terraform-provider-google/issues/20571
resource "google_project_iam_member" "build_staging" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = "serviceAccount:${google_service_account.build.email}"

  condition {
    title      = "the functions' staged archives"
    expression = "resource.name.startsWith(\"projects/_/buckets/${local.staging_bucket}/\") || resource.name == \"projects/_/buckets/${local.staging_bucket}\""
  }
}
