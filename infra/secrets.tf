# Vendors' keys. Terraform makes their containers and says who reads them; their values are added by hand, as versions,
# and are in no variable and no state. A function gets the version that `secret_versions` pins.

locals {
  secrets = toset(flatten([for row in values(local.functions) : row.secrets]))

  secret_grants = merge([
    for name, row in local.functions : { for secret in row.secrets : "${name}/${secret}" => { function = name, secret = secret } }
  ]...)
}

resource "google_secret_manager_secret" "vendor" {
  for_each  = local.secrets
  secret_id = "atelier-${lower(replace(each.value, "_", "-"))}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret_iam_member" "function" {
  for_each  = local.secret_grants
  secret_id = google_secret_manager_secret.vendor[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.function[each.value.function].email}"
}
