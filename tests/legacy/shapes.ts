// Definitions of the older engines with every key that they knew (docs/legacy.md), each kind of trigger and step once.
import type { JsonObject } from "../../functions/workflows/legacy/translate/keys.ts";

export const TENANT = "0a000000-0000-4000-8000-000000000001";
const own = { tenant_id: TENANT };
let numbers = 0;
export const uuid = () => `2a000000-0000-4000-8000-${String(++numbers).padStart(12, "0")}`;

export const serverSteps: Record<string, JsonObject> = {
  send_sms: {
    to: "{{trigger.contact.phone}}",
    body: "Hi {{ trigger.contact.first_name }}",
    template_id: "t-sms",
  },
  send_email: {
    to: ["{{trigger.contact.email}}", "office@summit.example"],
    subject: "About {{trigger.contact.first_name}}",
    html: "<p>Hello {{trigger.contact.first_name}}</p>",
    text: "Hello",
    template_id: "t-mail",
  },
  create_task: {
    title: "Call {{trigger.contact.first_name}}",
    description: "Soon",
    assigned_to: "0b000000-0000-4000-8000-000000000002",
    due_date_days: 2,
    priority: "high",
    project_id: "{{trigger.project_id}}",
    ...own,
  },
  update_contact: { contact_id: "{{trigger.contact_id}}", updates: { stage: "contacted" } },
  update_project: { project_id: "{{trigger.project_id}}", updates: { status: "approved" } },
  wait: { delay_minutes: 1440 },
  webhook: {
    url: "https://hooks.example/a",
    method: "put",
    headers: { "X-Api-Key": "sekrit-1", "X-Plain": "{{trigger.contact_id}}", Host: "elsewhere" },
    body: { id: "{{trigger.contact_id}}" },
  },
  conditional: { condition: "{{contact.stage}} === 'hot'", then_step_id: "x1", else_step_id: "x2" },
};

export const serverTriggers: Record<string, JsonObject> = {
  contact_created: { contact_id: "c1", user_id: "u1", contact: { a: 1 }, type: "lead" },
  pipeline_stage_changed: {
    project_id: "p1",
    project_name: "Roof",
    previous_stage: "negotiation",
    new_stage: "won",
    contact_id: "c1",
    estimated_value: 100,
    approved_value: 90,
    changed_by: "u1",
    changed_at: "2026-01-01",
  },
  project_won: { new_stage: "won" },
  job_completed: {
    job_id: "j1",
    job_number: "J-1",
    project_id: "p1",
    completion_date: "2026-01-01",
    completed_by: "u1",
  },
  email_opened: { email_id: "e1", contact_id: "c1", activity_id: "a1", opened_at: "2026-01-01" },
  email_clicked: {
    email_id: "e1",
    contact_id: "c1",
    activity_id: "a1",
    link: "https://x.example",
    clicked_at: "2026-01-01",
  },
  contact_updated: { contact_id: "c1", changes: ["stage"] },
  project_created: { type: "roof" },
  project_status_changed: { project_id: "p1", old_status: "estimate", new_status: "approved" },
  call_missed: { call_sid: "CA1", to: "+1", contact_id: "c1" },
  call_completed: { call_sid: "CA1", to: "+1", contact_id: "c1", duration: 5 },
  sms_received: { from: "+1", body: "YES", contact_id: "c1" },
  form_submitted: { form_id: "f1" },
};

export const serverWorkflow = (
  type: string,
  config: JsonObject | null,
  steps: JsonObject[],
  more: JsonObject = {},
): JsonObject => ({
  id: uuid(),
  ...own,
  name: `Server ${type}`,
  description: "What it is for",
  trigger_type: type,
  trigger_config: config,
  is_active: true,
  is_deleted: false,
  created_by: "u-author",
  created_at: "2025-01-01T00:00:00Z",
  updated_at: "2025-01-01T00:00:00Z",
  steps: steps.map((step, place) => ({
    id: uuid(),
    step_order: place + 1,
    delay_minutes: 0,
    created_at: "2025-01-01T00:00:00Z",
    ...step,
  })),
  ...more,
});

export const clientTriggers: Record<string, JsonObject> = {
  contact_created: {
    contact_type: ["lead"],
    contact_category: ["homeowner"],
    source: ["web", "ad"],
    assigned_to: ["u1"],
  },
  contact_updated: { fields: ["stage", "email"], contact_type: ["lead"], stage: ["new"] },
  stage_changed: { from_stage: ["new"], to_stage: ["won"], contact_type: ["lead"] },
  field_changed: { field: "lead_score", from_value: "5", to_value: "10", operator: "greater_than" },
  time_elapsed: { duration: 168, field: "custom", custom_field: "renewal", contact_stage: ["won"] },
  scheduled: {
    schedule: "monthly",
    time: "10:30",
    day_of_week: 2,
    day_of_month: 15,
    cron_expression: "0 9 * * *",
    timezone: "America/Chicago",
  },
  form_submitted: { form_id: "f1", form_name: "Quote" },
  project_created: { project_type: ["roof"], assigned_to: ["u1"] },
  project_status_changed: { from_status: ["estimate"], to_status: ["completed"] },
  manual: {},
};

export const clientActions: Record<string, JsonObject> = {
  send_email: {
    to: "{{contact.email}}",
    subject: "Hi {{contact.first_name}}",
    body: "Line one\nLine two",
    from_name: "Sam Ortiz",
    from_email: "sam@15125550100.example",
    template_id: "t1",
  },
  send_sms: { to: "{{contact.phone}}", message: "Hi {{contact.first_name}}", template_id: "t2" },
  create_task: {
    title: "Call {{contact.full_name}}",
    description: "Soon",
    due_date: "+3 days",
    assigned_to: "{{user.id}}",
    priority: "urgent",
    contact_id: "{{contact.id}}",
  },
  update_field: { field: "lead_score", value: 10, operator: "add" },
  change_stage: { stage: "qualified", substatus: "hot" },
  assign_user: { user_id: "0b000000-0000-4000-8000-000000000003" },
  add_tag: { tags: ["vip", "storm"] },
  remove_tag: { tags: ["cold"] },
  webhook: {
    url: "https://hooks.example/b",
    method: "POST",
    headers: { "X-Plain": "1" },
    payload: { name: "{{contact.first_name}}" },
    auth: { type: "basic", username: "me", password: "sekrit-2" },
  },
  wait: { duration: 24 },
  create_project: {
    name: "Roof of {{contact.last_name}}",
    description: "New",
    template_id: "t3",
    assigned_to: "u1",
    contact_id: "{{contact.id}}",
  },
};

export const clientWorkflow = (
  type: string,
  config: JsonObject,
  actions: JsonObject[],
  more: JsonObject = {},
): JsonObject => ({
  id: `workflow_${++numbers}`,
  ...own,
  name: `Client ${type}`,
  description: "What it is for",
  status: "active",
  is_template: true,
  template_category: "follow_up",
  execution_count: 7,
  last_executed_at: "2025-01-01",
  created_by: "u1",
  trigger: { id: "t1", type, enabled: true, config: { type, ...config } },
  actions: actions.map((action, order) => ({
    id: `a${order}`,
    order,
    enabled: true,
    ...action,
    config: { type: action.type!, ...(action.config as JsonObject) },
  })),
  ...more,
});

export const campaignTriggers: JsonObject[] = [
  {
    trigger_type: "stage_change",
    trigger_config: {
      entity_type: "project",
      from_stage: "won",
      to_stage: "complete",
      conditions: { a: 1 },
    },
  },
  { trigger_type: "stage_change", trigger_config: { entity_type: "contact", to_stage: "new" } },
  { trigger_type: "stage_change", trigger_config: { to_stage: "new" } },
  {
    trigger_type: "time_based",
    trigger_config: {
      schedule_type: "relative",
      relative_to: "created_at",
      delay_value: 3,
      delay_unit: "days",
    },
  },
  {
    trigger_type: "time_based",
    trigger_config: { schedule_type: "absolute", absolute_date: "2026-05-01" },
  },
  {
    trigger_type: "event",
    trigger_config: {
      event_name: "activity_created",
      event_filters: { activity_type: "call", activity_subtype: "missed" },
    },
  },
  { trigger_type: "event", trigger_config: { event_name: "contact_created" } },
  { trigger_type: "manual", trigger_config: { manual: true } },
  { trigger_type: "form_submission", trigger_config: { form: "f1" } },
  { trigger_type: "tag_added", trigger_config: { tag: "vip" } },
];

export const campaignSteps: Record<string, JsonObject> = {
  send_email: {
    subject: "Hi {{first_name}}",
    body: "<p>{{offer}} from {{company_name}}</p>",
    template_id: "t1",
    personalization: { offer: "Ten percent" },
    track_opens: true,
    track_clicks: false,
    attachments: ["a.pdf"],
  },
  send_sms: {
    message: "Hi {{contact_name}}",
    template_id: "t2",
    personalization: { x: "y" },
    track_replies: true,
  },
  create_task: {
    title: "Call",
    description: "Soon",
    task_type: "call",
    priority: "high",
    assigned_to: "u1",
    due_in_days: 2,
  },
  wait: { delay_value: 2, delay_unit: "days", wait_until: "monday" },
  update_field: { entity_type: "project", field_name: "status", field_value: "approved" },
  manage_tags: { action: "remove", tags: ["a", "b"] },
  notify: {
    notify_users: ["0b000000-0000-4000-8000-000000000003"],
    message: "{contact.name} at {contact.phone}",
    notification_type: "both",
  },
  webhook: {
    url: "https://hooks.example/c",
    method: "PATCH",
    headers: { Authorization: "Token sekrit-3" },
    payload: { a: "{{email}}" },
  },
  conditional: {
    conditions: {
      rules: [{ field: "stage", operator: "equals", value: "won" }, {
        field: "phone",
        operator: "is_null",
      }],
      logic: "OR",
    },
    true_path_step_id: "s1",
    false_path_step_id: "s2",
  },
  exit_campaign: {
    exit_reason: "done",
    create_task: true,
    task_config: { title: "Look", due_in_days: 1, priority: "low" },
  },
  change_stage: { target_stage: "won", validate_transition: true, skip_perfect_packet: false },
};

export const campaign = (
  triggers: JsonObject[],
  steps: JsonObject[],
  more: JsonObject = {},
): JsonObject => ({
  id: uuid(),
  ...own,
  name: "A campaign",
  description: "What it is for",
  campaign_type: "drip",
  status: "active",
  goal_type: "reviews",
  goal_target: 5,
  allow_re_enrollment: true,
  re_enrollment_delay_days: 30,
  respect_business_hours: true,
  business_hours: { start: 8, end: 18, days: ["Mon", "Sat"], timezone: "America/Chicago" },
  enrollment_type: "automatic",
  max_enrollments: 100,
  total_enrolled: 5,
  total_completed: 4,
  total_revenue: 3,
  created_by: "u1",
  is_deleted: false,
  triggers: triggers.map((trigger) => ({
    id: uuid(),
    priority: 3,
    is_active: true,
    enrollment_conditions: { score: { field: "lead_score", operator: ">=", value: 5 } },
    exclusion_conditions: { dnc_status: true },
    ...trigger,
  })),
  steps: steps.map((step, place) => ({
    id: uuid(),
    parent_step_id: null,
    step_order: place + 1,
    delay_value: 0,
    delay_unit: "days",
    conditions: null,
    true_path_step_id: null,
    false_path_step_id: null,
    total_executed: 3,
    total_succeeded: 2,
    total_failed: 1,
    is_deleted: false,
    ...step,
  })),
  ...more,
});

export const automation = (more: JsonObject = {}): JsonObject => ({
  id: uuid(),
  ...own,
  name: "Nobody's",
  trigger_type: "contact_created",
  trigger_config: { contact_type: ["lead"] },
  actions: [{ type: "add_tag", config: { tags: ["x"] }, note: "odd" }],
  conditions: [{
    id: "c",
    field: "contact.stage",
    operator: "equals",
    value: "new",
    logic_gate: "AND",
  }],
  is_active: true,
  run_count: 3,
  error_count: 1,
  last_run_at: "2025-01-01",
  created_by: "u1",
  ...more,
});
