# Google's own budget only tells, and hours late: cloud.google.com/billing/docs/how-to/budgets ("does not cap usage").
# What really stops spending is the code's budget of the day, var.daily_budget_usd.

locals {
  billing_accounts = toset(var.billing_account == null ? [] : [var.billing_account])
}

resource "google_project_service" "budgets" {
  for_each           = local.billing_accounts
  service            = "billingbudgets.googleapis.com"
  disable_on_destroy = false
}

resource "google_billing_budget" "monthly" {
  for_each        = local.billing_accounts
  billing_account = each.value
  display_name    = "Atelier in ${var.project_id}"

  budget_filter {
    projects        = ["projects/${data.google_project.this.number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget) # in the billing account's own currency
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = slice(local.channels, 0, min(5, length(local.channels))) # it takes five at most
    disable_default_iam_recipients   = false
  }

  depends_on = [google_project_service.budgets]
}
