-- What attaching a CRM's contacts says of their columns by what they are called: who wants no message, and which other
-- numbers and addresses there are. What says neither gives no alarm, whatever letters it is made of.
begin;
\ir ../foundation/story.psql
select plan(6);

create function pg_temp.said_by(names text[], kind text) returns table (name text, said text)
  language sql
  as $$
    select n, (
      select s.says || ': ' || array_to_string(s.channels, ' ') from automation.consent_in_name(n, kind) as s)
    from unnest(names) as n
  $$;

select is_empty($$
  select name, c.said as expected, s.said
  from (values
    ('opt_out: sms', '{do_not_text,do_not_call,doNotCall,sms_opt_out,sms_opted_out_at,smsOptOut,SMSOptOut,
      smsoptout,sms_unsubscribed,can_text,ok_to_text,stop_texts,no_sms,sms_consent_revoked_at,call_opt_out,dont_call}'::text[]),
    ('opt_out: email', '{do_not_email,doNotEmail,donotemail,email_opt_out,hs_email_optout,has_opted_out_of_email,
      hasoptedoutofemail,email_unsubscribed,can_receive_email,nomail}'),
    ('opt_out: sms email', '{do_not_contact,optedOutAt,unsubscribed_at,unsubscribed,is_unsubscribed,dnc,dnc_status,
      is_dnd,no_marketing,do_not_disturb,blacklisted,suppressed}'),
    ('consent: sms', '{sms_consent,text_consent,smsOptIn,consent_to_calls_and_texts,accepts_sms_marketing,
      accepts_texts}'),
    ('consent: email', '{email_consent,accepts_email_marketing,email_subscribed,email_permission,allows_emails}'),
    ('consent: sms email', '{marketing_consent,opt_in,optedIn,is_subscribed,subscribed,subscribed_to_newsletter,
      accepts_marketing,acceptsMarketing,gdpr_consent}')) as c (said, names)
  cross join lateral pg_temp.said_by(c.names, 'boolean') as s
  where s.said is distinct from c.said
$$, 'a name that says who is not to be written to is read, word by word');

select is_empty($$
  select s.* from pg_temp.said_by('{unsubscribe_url,opt_in_url,consent_form_url,consent_pdf,photo_consent,hipaa_consent,
    optinmonster_id,adopting,subscribed_plan,wants_text_quote,unsubscribe_token,opt_out_reason,consent_ip,consented_by,
    consent_text,call_recording_consent,voice_consent,has_opted_out_of_fax,never_contacted,notes,context,option,options,
    text_message,last_text,email,email_status,can_text_quote}', 'text') as s where s.said is not null
$$, 'one that only sounds like it is left alone');

select is_empty($$
  select k.kind, k.name, s.said
  from (values ('number', 'do_not_sms', true), ('json', 'dnd_settings', true), ('number', 'dnd', true),
    ('list', 'unsubscribed_channels', true), ('json', 'sms_marketing_consent', true), ('number', 'opt_outs', false),
    ('number', 'opt_in', false), ('uuid', 'consent', false), ('number', 'unsubscribe_count', false))
    as k (kind, name, is_heard)
  cross join lateral pg_temp.said_by(array[k.name], k.kind) as s
  where (s.said is not null) <> k.is_heard
$$, 'a number or JSON says so too');

select is_empty($$
  select n, automation.address_in_name(n)
  from unnest('{phone2,phone_2,phoneNumber,phone_number,phonenumber,mobile,mobile_no,
    mobile_phone,cell,cell_phone,cellPhone,home_phone,workphone,phone_home,telephone,tel,alt_phone,spouse_phone}'::text[]) as n
  where automation.address_in_name(n) is distinct from 'phone'
$$, 'a number is known by how its name ends');

select is_empty($$
  select n, automation.address_in_name(n)
  from unnest('{email2,email_2,e_mail,eMail,mail,emailAddress,email_address,
    work_email,workemail,secondary_email,email_work,billing_email,email_address_2}'::text[]) as n
  where automation.address_in_name(n) is distinct from 'email'
$$, 'and an address');

select is_empty($$
  select n, automation.address_in_name(n)
  from unnest('{mailing_street,mailing_city,mailing_state,mailing_zip,mailchimp_id,
    email_subject,email_permission,nomail,cancelled_by,cancelledBy,excellent,voicemail,phone_type,phone_ext,phone_country,
    email_verified,email_status,verified_email,last_email,emergency_phone,fax_phone,preferred_phone,automobile,
    email_opt_out,no_phone,no_email,phone_label,mailbox,has_mobile,normalized_phone,email_hash,mobile_carrier,hotel}'::text[]) as n
  where automation.address_in_name(n) is not null
$$, 'and not by its letters: a city is no address to write to');

select * from finish();
rollback;
