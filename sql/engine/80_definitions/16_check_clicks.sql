-- A wait for a click on the text of one step: one that there is not, or whose links nobody tracks, is never clicked.
create or replace function automation.check_clicks(plan jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
        automation.step_path(s.value) || '.step_config.event.config.step_key', 'no_tracked_text',
        format('step_key: "%s" is no step of this workflow that sends a text with track_links', left(w.said, 60)),
        'Name the step_key of that send_sms, and set track_links there.') order by s.key), '[]')
    from jsonb_each(plan -> 'steps') as s
    cross join lateral (
      select s.value #>> '{config,base,event,config,step_key}' as said) as w
    where s.value ->> 'type' = 'wait' and s.value #>> '{config,base,event,type}' = 'sms_clicked' and w.said is not null
      and plan #> array['steps', w.said, 'sending', 'track_links'] is distinct from 'true'
  $$;

comment on function automation.check_clicks(jsonb) is
  'Refuses a wait for sms_clicked that names a step which is never clicked.';
