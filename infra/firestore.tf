# The database and its indexes, from the declarations by which both document stores refuse a query.

locals {
  indexes = jsondecode(file("${path.module}/../shared/stores/indexes.json"))

  # Equalities first, then the ordered field; "-field" is descending. An index serves one direction only, and Firestore
  # itself appends the document's name in the direction of the last field, as the stores order by it.
  composite_indexes = merge([
    for collection, rows in local.indexes : {
      for fields in try(rows.composite, []) :
      "${collection}/${join(",", fields)}" => { collection = collection, fields = fields }
    }
  ]...)

  # Collections whose documents carry `expire_at`. Single-field indexes need no resource: every field has them.
  expiring = toset(["budgets", "cache", "webhooks"])
}

resource "google_firestore_database" "this" {
  name                              = var.database
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  depends_on                        = [google_project_service.this]
}

resource "google_firestore_index" "composite" {
  for_each   = local.composite_indexes
  database   = google_firestore_database.this.name
  collection = each.value.collection

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path = trimprefix(fields.value, "-")
      order      = startswith(fields.value, "-") ? "DESCENDING" : "ASCENDING"
    }
  }
}

# Removes documents within about a day, so the code compares `expire_at` itself. It acts on timestamps only: a time
# that is stored as text is kept for ever.
resource "google_firestore_field" "expire_at" {
  for_each   = local.expiring
  database   = google_firestore_database.this.name
  collection = each.value
  field      = "expire_at"

  ttl_config {}

  # Times that only grow make an index of them a hot spot: none, unless a query is declared.
  dynamic "index_config" {
    for_each = contains(try(local.indexes[each.value].single, []), "expire_at") ? [] : [true]
    content {}
  }
}

# A role is for the whole project; the condition leaves this one database of it.
# cloud.google.com/firestore/docs/security/iam
resource "google_project_iam_member" "documents" {
  for_each = { for name, row in local.functions : name => row if row.documents != "none" }
  project  = var.project_id
  role     = each.value.documents == "write" ? "roles/datastore.user" : "roles/datastore.viewer"
  member   = "serviceAccount:${google_service_account.function[each.key].email}"

  condition {
    title      = "the database ${var.database}"
    expression = "resource.name == \"projects/${var.project_id}/databases/${google_firestore_database.this.name}\""
  }
}
