-- An operator that can never hold for its column's type is refused before a workflow waits for it in
-- vain; where a column may hold anything, it is only mentioned.
begin;
\ir ../foundation/story.psql
create type pg_temp.pitch as enum ('low', 'steep');
create table public.roofs (
  tenant_id uuid not null references public.tenants (id), id uuid primary key default gen_random_uuid(),
  insured boolean, pitch pg_temp.pitch, area numeric, seen_on date, layers text[], notes jsonb);
select automation.attach('public.roofs', 'roof');
select plan(71);

select pg_temp.tenant() as apex \gset
create function pg_temp.verdict(tenant uuid, field text, operator text, value jsonb default null) returns text
  language sql
  as $$
    select pg_temp.findings(tenant, case when field like 'roof.%' then 'roof_created' else 'job_completed' end,
      conditions => jsonb_build_array(jsonb_strip_nulls(
        jsonb_build_object('field', field, 'operator', operator, 'value', value))))
  $$;

-- The operator.
select is(pg_temp.verdict(:'apex', field, operator, value::jsonb),
  nullif(verdict || ' operator_type_mismatch conditions[0].operator', ' operator_type_mismatch conditions[0].operator'),
  concat_ws(' ', field, operator, value))
from (values
  ('contact.lead_score', 'before', '"2026-03-01"', 'error'),
  ('contact.lead_score', 'after', '"today"', 'error'),
  ('contact.lead_score', 'within_last', '"3 days"', 'error'),
  ('contact.lead_score', 'within_next', '{"days": 3}', 'error'),
  ('roof.insured', 'before', '"now"', 'error'),
  ('contact.assigned_to', 'before', '"now"', 'error'),
  ('contact.tags', 'after', '"now"', 'error'),
  ('contact.stage', 'before', '"now"', 'warning'),
  ('job.scheduled_at', 'before', '"now"', null),
  ('roof.seen_on', 'within_last', '"1 year"', null),
  ('contact.custom_fields', 'before', '"now"', 'warning'),
  ('contact.custom_fields.inspected_on', 'before', '"now"', null),
  ('roof.insured', 'greater_than', '0', 'error'),
  ('roof.layers', 'less_than', '2', 'error'),
  ('contact.custom_fields', 'greater_than', '1', 'warning'),
  ('roof.notes', 'between', '[1, 2]', 'warning'),
  ('roof.area', 'greater_than', '1', null),
  ('contact.stage', 'greater_than', '"m"', null),
  ('roof.insured', 'starts_with', '"t"', 'error'),
  ('roof.insured', 'contains', '"t"', 'error'),
  ('roof.insured', 'not_contains', '"t"', 'warning'),
  ('roof.insured', 'matches', '"t"', 'error'),
  ('roof.layers', 'ends_with', '"t"', 'error'),
  ('roof.layers', 'contains', '"slate"', null),
  ('contact.postal_code', 'starts_with', '"787"', null),
  ('contact.lead_score', 'starts_with', '"4"', null),
  ('job.scheduled_at', 'is_true', null, 'error'),
  ('contact.assigned_to', 'is_false', null, 'error'),
  ('contact.tags', 'is_true', null, 'error'),
  ('roof.insured', 'is_true', null, null),
  ('contact.lead_score', 'is_true', null, null),
  ('contact.source', 'is_false', null, null),
  ('contact.tags', 'is_empty', null, null),
  ('job.scheduled_at', 'is_not_empty', null, null)
) as v (field, operator, value, verdict);

-- The value.
select is(pg_temp.verdict(:'apex', field, operator, value::jsonb),
  nullif(verdict || ' operator_type_mismatch conditions[0].value', ' operator_type_mismatch conditions[0].value'),
  concat_ws(' ', field, operator, value))
from (values
  ('contact.lead_score', 'greater_than', '"abc"', 'error'),
  ('contact.lead_score', 'greater_than', '"12.5"', null),
  ('contact.lead_score', 'equals', '"high"', 'error'),
  ('contact.lead_score', 'not_equals', '"high"', 'warning'),
  ('contact.lead_score', 'equals', 'true', 'error'),
  ('contact.lead_score', 'between', '["a", "b"]', 'error'),
  ('contact.lead_score', 'in', '["a", "b"]', 'error'),
  ('contact.lead_score', 'not_in', '["a", "b"]', 'warning'),
  ('contact.lead_score', 'in', '["a", 2]', null),
  ('contact.lead_score', 'includes_all', '["a", 2]', 'error'),
  ('project.value', 'greater_than', '{"field": "contact.lead_score"}', null),
  ('project.value', 'greater_than', '{"field": "project.created_at"}', 'error'),
  ('project.created_at', 'before', '{"field": "project.value"}', 'error'),
  ('project.created_at', 'before', '{"field": "job.scheduled_at"}', null),
  ('project.created_at', 'before', '{"field": "contact.source"}', null),
  ('roof.insured', 'equals', '"maybe"', 'error'),
  ('roof.insured', 'equals', '1', 'error'),
  ('roof.insured', 'equals', '"True"', null),
  ('roof.insured', 'not_equals', 'true', null),
  ('job.scheduled_at', 'equals', '"tomorrow"', 'error'),
  ('job.scheduled_at', 'greater_than', '5', 'error'),
  ('job.scheduled_at', 'between', '["2026-01-01", "2026-12-31"]', null),
  ('contact.assigned_to', 'equals', '"Sam"', 'error'),
  ('contact.assigned_to', 'in', '["00000000-0000-0000-0000-000000000001"]', null),
  ('roof.pitch', 'equals', '"flat"', 'error'),
  ('roof.pitch', 'equals', '"Steep"', null),
  ('roof.pitch', 'in', '["flat", "low"]', null),
  ('contact.tags', 'equals', '"vip"', 'error'),
  ('contact.tags', 'in', '["vip"]', 'error'),
  ('contact.tags', 'includes_any', '["vip"]', null),
  ('contact.stage', 'equals', '["new", "won"]', 'error'),
  ('contact.stage', 'equals', '7', null)
) as v (field, operator, value, verdict);

-- Everywhere that conditions stand.
select is(pg_temp.findings(:'apex', 'contact_created', steps => '[{"type": "create_task", "config": {"title": "x"},
    "conditions": [{"field": "lead_score", "operator": "before", "value": "now"}]}]'),
  'error operator_type_mismatch steps[0].conditions[0].operator', 'on a step');
select is(pg_temp.findings(:'apex', 'contact_created', steps => '[{"type": "create_task",
    "config": {"title": "{{#if lead_score > \"abc\"}}x{{/if}}"}}]'),
  'error operator_type_mismatch steps[0].step_config.title', 'in a block of a template');
select is(pg_temp.findings(:'apex', 'manual', conditions => '[{"field": "contact.lead_score", "operator": "before", "value": "now"}]'),
  'warning operator_type_mismatch conditions[0].operator', 'a manual run may bring another contact along');
select alike(pg_temp.findings(:'apex', 'contact_created', mended => true,
    conditions => '[{"field": "lead_score", "operator": "equals", "value": "high"}]'),
  'lead_score is a number: equals "high" never holds | Write a number, such as 5.', 'in words');
select is(pg_temp.error_of(format($$select pg_temp.workflow(%L, 'contact_created',
    conditions => '[{"field": "lead_score", "operator": "before", "value": "now"}]')$$, :'apex')),
  '22023 workflow "contact_created" cannot be published: conditions[0].operator: '
  'lead_score is a number: before never holds | For numbers: equals, greater_than, less_than, between, in.',
  'an error blocks publishing');

select * from finish();
rollback;
