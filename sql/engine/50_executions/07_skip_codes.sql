-- Why a step was not carried out though its turn had come, and what that means to the office. A run
-- goes on after a skip and may end as completed, so nobody would ever learn that a message did not go out:
-- ridgeline.automation_skipped_sends and ridgeline.automation_failures (chapter 99) tell, by these codes.

create table automation.skip_codes (
  code text constraint skip_codes_pkey primary key,
  counts_as text not null
    constraint skip_codes_counts_as_known check (counts_as in ('failure', 'refusal', 'choice')),
  description text not null
);

comment on table automation.skip_codes is
  'The code of every skip. A chapter that skips for a reason of its own adds it here; one that is missing '
  'counts as a failure.';
comment on column automation.skip_codes.counts_as is
  'failure: somebody should have got something and could not. refusal: who was to get it does not want it. '
  'choice: the workflow itself said so.';

insert into automation.skip_codes (code, counts_as, description) values
  ('no_recipient', 'failure', 'There is no phone number or address to send to.'),
  ('invalid_recipient', 'failure', 'What stands where the recipient should is no phone number or address.'),
  ('no_consent_rule', 'failure', 'A type of step for whose channel no rule of consent is written.'),
  ('expired', 'failure', 'It was planned before a date that has passed meanwhile: a reminder that comes too late.'),
  ('conversation_brake', 'failure',
   'So many texts went to the number in answer to what came from it that it may be a machine.'),
  ('no_contact', 'failure', 'There is no contact to tag.'),
  ('no_target', 'failure', 'What names another record to work on came out empty.'),
  ('no_address', 'failure', 'There is no phone number or address by which a contact could be found.'),
  ('no_member', 'failure', 'Who was to be told is not, or no longer, a member of the office.'),
  ('country_not_allowed', 'failure', 'The tenant does not text that country, a satellite or a premium-rate number.'),
  ('stranger_not_allowed', 'failure',
   'The number is nobody''s whom the office knows, and the tenant does not text strangers.'),
  ('not_textable', 'failure', 'The number is a landline: the provider says that no text reaches it.'),
  ('over_cap', 'refusal', 'One marketing message too many for a person today, and the step says to skip it then.'),
  ('suppressed', 'refusal', 'The recipient has opted out, or the provider says that nothing reaches them.'),
  ('no_consent', 'refusal',
   'Marketing to somebody who has not agreed to it: the tenant asks for that, or their record in the CRM says no.'),
  ('too_late', 'choice', 'Its time had passed when its turn came, and the wait before it leaves it out then.'),
  ('no_date', 'choice', 'There was no date, and the wait before it leaves it out then.'),
  ('conditions_not_met', 'choice', 'The conditions of the step did not hold.'),
  ('shadow', 'choice', 'A shadow would have done it; {would} says what.')
on conflict on constraint skip_codes_pkey do update set
  counts_as = excluded.counts_as, description = excluded.description;
