# What is watched: metrics, alerts, objectives and the dashboard, all from monitoring.json and from what
# `python -m functions dashboards` writes. Every question is PromQL, so that alert, dashboard and Grafana ask alike.
#
# How Cloud Monitoring's metrics are called in PromQL: cloud.google.com/monitoring/promql/promql-mapping. A count is
# right though instances come and go, as a point of a counter is stored with its start:
# cloud.google.com/stackdriver/docs/managed-prometheus/promql-differences ("Calculation of rate and increase").
# A condition looks back 24 h at most, and 25 h with its `duration`, without the preview of long lookbacks, which is not
# used here: cloud.google.com/monitoring/alerts/using-promql.

locals {
  monitoring  = jsondecode(file("${path.module}/monitoring.json"))
  metrics     = jsondecode(file("${path.module}/metrics.json"))
  metric_type = "custom.googleapis.com/atelier"

  # The share of the error budget that goes before anybody hears of it, and the pairs of windows: table 5-8 in "The Site
  # Reliability Workbook", chapter 5, sre.google/workbook/alerting-on-slos. Its third pair looks back three days, longer
  # than a condition may.
  burns = merge([
    for name, slo in local.monitoring.slos : {
      for speed, burn in local.monitoring.burn_rates : "${name}/${speed}" => {
        slo = name, title = slo.title, do = slo.do, means = burn.means, severity = burn.severity, rate = burn.rate, windows = [burn.long_s, burn.short_s]
        finished = join(" AND ", concat(
          ["metric.type = \"${local.metric_type}/jobs_finished\"", "resource.type = \"generic_task\"", "metric.labels.state = one_of(\"succeeded\", \"failed\")"],
          [for label, value in try(slo.distribution.labels, {}) : "metric.labels.${label} = \"${value}\"" if label == "kind"],
        ))
      }
    }
  ]...)

  slo_filters = {
    for name, slo in local.monitoring.slos : name => {
      for part in ["good", "bad", "distribution"] : part => join(" AND ", concat(
        ["metric.type = \"${local.metric_type}/${slo[part].metric}\"", "resource.type = \"generic_task\""],
        [for label, value in slo[part].labels : "metric.labels.${label} = \"${value}\""],
      )) if can(slo[part])
    }
  }

  more_on_alerts = var.runbook_url == null ? "More in README, Monitoring" : "More in [README, Monitoring](${var.runbook_url})"

  channels = [for email in var.alert_emails : google_monitoring_notification_channel.email[email].name]
}

# A condition or an objective on a metric that was never written is refused, unless its descriptor is there.
resource "google_monitoring_metric_descriptor" "this" {
  for_each     = local.metrics
  type         = "${local.metric_type}/${each.key}"
  display_name = each.key
  description  = each.value.meaning
  metric_kind  = each.value.kind
  value_type   = each.value.value_type
  unit         = each.value.unit

  dynamic "labels" {
    for_each = each.value.labels
    content {
      key        = labels.value
      value_type = "STRING"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.alert_emails
  type         = "email"
  display_name = each.value
  labels       = { email_address = each.value }
  depends_on   = [google_project_service.this]
}

resource "google_monitoring_alert_policy" "this" {
  for_each              = local.monitoring.alerts
  display_name          = "Atelier: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = { alert = each.key }

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query = join(" ", [
        "(${each.value.expr})",
        can(each.value.above) ? ">" : "<",
        lookup(var.alert_thresholds, each.key, try(each.value.above, each.value.below)),
      ])
      duration            = "${each.value.for_s}s"
      evaluation_interval = "60s" # as often as instances write
      rule_group          = "atelier"
      alert_rule          = each.key

      # Google's own metrics, unlike ours, are there only after the first event.
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    subject   = "${each.value.severity}: ${each.value.title}"
    content   = "${each.value.means}\n\n**What to do.** ${each.value.do}\n\n${local.more_on_alerts}: `${each.key}`."
    mime_type = "text/markdown"
  }

  # What they watch is there first: some tell of what is missing, and would while the functions still build.
  depends_on = [
    google_cloud_scheduler_job.tick,
    google_monitoring_metric_descriptor.this,
    google_pubsub_subscription.function,
  ]
}

# ---------------------------------------------------------------- objectives

resource "google_monitoring_custom_service" "atelier" {
  service_id   = "atelier"
  display_name = "Atelier"
  depends_on   = [google_project_service.this]
}

# Google may take ten minutes to know a new metric by its descriptor. The functions take some of them to deploy; where
# that was not enough, the next apply goes on.
resource "google_monitoring_slo" "this" {
  for_each            = local.monitoring.slos
  service             = google_monitoring_custom_service.atelier.service_id
  slo_id              = replace(each.key, "_", "-")
  display_name        = each.value.title
  goal                = each.value.goal
  rolling_period_days = 30

  request_based_sli {
    dynamic "good_total_ratio" {
      for_each = can(each.value.good) ? [local.slo_filters[each.key]] : []
      content {
        good_service_filter = good_total_ratio.value.good
        bad_service_filter  = good_total_ratio.value.bad
      }
    }

    dynamic "distribution_cut" {
      for_each = can(each.value.distribution) ? [local.slo_filters[each.key]] : []
      content {
        distribution_filter = distribution_cut.value.distribution
        range {
          min = 0
          max = each.value.at_most
        }
      }
    }
  }

  depends_on = [google_monitoring_metric_descriptor.this, google_cloudfunctions2_function.this]
}

resource "google_monitoring_alert_policy" "burn" {
  for_each              = local.burns
  display_name          = "Atelier: ${each.value.title}, ${split("/", each.key)[1]} burn"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = { alert = replace(each.key, "/", "_") }

  # The short window ends the alert soon after the cause is gone.
  dynamic "conditions" {
    for_each = each.value.windows
    content {
      display_name = "Burn rate over ${conditions.value} s"

      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.this[each.value.slo].name}\", \"${conditions.value}s\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  # One job that fails at night is all there was: it wakes nobody.
  conditions {
    display_name = "More than 10 jobs in the long window"

    condition_threshold {
      filter          = each.value.finished
      comparison      = "COMPARISON_GT"
      threshold_value = 10
      duration        = "0s"

      aggregations {
        alignment_period     = "${each.value.windows[0]}s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    subject   = "${each.value.severity}: ${each.value.title}"
    content   = "${each.value.means}: at this rate the objective is missed.\n\n**What to do.** ${each.value.do}\n\n${local.more_on_alerts}: `${each.value.slo}`."
    mime_type = "text/markdown"
  }

  depends_on = [google_monitoring_metric_descriptor.this, google_cloudfunctions2_function.this]
}

# ---------------------------------------------------------------- dashboard

resource "google_monitoring_dashboard" "this" {
  dashboard_json = file("${path.module}/dashboards/cloud_monitoring.json")
  depends_on     = [google_project_service.this]
}
