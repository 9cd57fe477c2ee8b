begin;
select plan(80);

create function pg_temp.rendered(template text, options jsonb default '{}') returns text
  language sql
  as $$
    select r.rendered #>> '{}' || coalesce(' !' || (r.warnings -> 0 ->> 'code'), '')
    from automation.compile_template(to_jsonb('' || template || '')) as t,
      automation.render(t.compiled, '{
        "contact": {"first_name": "ann-marie", "name": " Ann ", "empty": "", "none": null,
          "phone": "+15551234567", "phone10": "512.555.0142", "uk": "+442071838750", "bad": "call me",
          "tags": ["VIP", "roof", null], "nobody": [], "notes": "Straße, ok", "object": {"a": 1}},
        "project": {"value": 12345.678, "text": "1200", "debt": -3.5, "zero": 0, "none": null,
          "start": "2026-03-08", "at": "2026-03-08T06:30:00+00:00"}}',
        '{"zone": "America/New_York", "now": "2026-03-08T12:00:00Z"}'::jsonb || options) as r
    where t.problems = '[]'
  $$;

select is(pg_temp.rendered('{{' || template || '}}'), rendered, template)
from (values
  ('contact.none | default: "there"', 'there'),
  ('contact.empty | default: "there"', 'there'),
  ('contact.nobody | default: "there"', 'there'),
  ('contact.missing | default: contact.first_name', 'ann-marie'),
  ('project.zero | default: 5', '0'),
  ('contact.name | trim | upper', 'ANN'),
  ('contact.notes | upper', 'STRASSE, OK'),
  ('"ÉCOLE" | lower', 'école'),
  ('contact.first_name | capitalize', 'Ann-marie'),
  ('contact.first_name | truncate: 5', 'ann-…'),
  ('contact.first_name | truncate: 6, "..."', 'ann...'),
  ('contact.first_name | truncate: 2, "..."', '..'),
  ('contact.first_name | truncate: 40', 'ann-marie'),
  ('contact.first_name | replace: "-", " "', 'ann marie'),
  ('contact.first_name | replace: "a", ""', 'nn-mrie'),
  ('contact.tags | join: " / "', 'VIP / roof'),
  ('contact.tags | join', 'VIP, roof'),
  ('contact.tags | first', 'VIP'),
  ('contact.tags | first | lower', 'vip'),
  ('contact.phone | formatPhone', '(555) 123-4567'),
  ('contact.phone10 | formatPhone', '(512) 555-0142'),
  ('contact.phone10 | formatPhone: "e164"', '+15125550142'),
  ('contact.phone10 | formatPhone: "international"', '+1 512-555-0142'),
  ('"512/555-0142 x12" | formatPhone', '(512) 555-0142'),
  ('"tel:+1-512-555-0142" | formatPhone', '(512) 555-0142'),
  ('"０５１２ 555" | formatPhone', '０５１２ 555 !filter_not_applied'),
  ('"１(５１２)５５５-０１４２" | formatPhone', '(512) 555-0142'),
  ('"+44 (0)20 7183 8750" | formatPhone', '+442071838750'),
  ('"98765 43210" | formatPhone', '98765 43210 !filter_not_applied'),
  ('"+266696687" | formatPhone', '+266696687 !filter_not_applied'),
  ('5125550142 | formatPhone', '(512) 555-0142'),
  ('contact.phone | formatPhone: "international"', '+1 555-123-4567'),
  ('contact.uk | formatPhone', '+442071838750'),
  ('contact.bad | formatPhone', 'call me !filter_not_applied'),
  ('project.value | formatCurrency', '$12,345.68'),
  ('project.text | formatCurrency', '$1,200.00'),
  ('project.debt | formatCurrency', '-$3.50'),
  ('project.value | formatCurrency: "EUR", "de-DE"', U&'12.345,68\00A0€'),
  ('project.value | formatCurrency: "JPY"', '¥12,346'),
  ('project.value | formatCurrency: "CHF"', U&'CHF\00A012,345.68'),
  ('project.value | formatCurrency: "dollars"', '12345.678 !filter_not_applied'),
  ('project.value | formatNumber', '12,345.678'),
  ('project.value | formatNumber: 1', '12,345.7'),
  ('project.text | formatNumber: 2', '1,200.00'),
  ('project.value | formatNumber: 0, "fr-FR"', U&'12\202F346'),
  ('contact.bad | formatNumber', 'call me !filter_not_applied'),
  ('project.text | plus: 300', '1500'),
  ('project.value | minus: 0.678', '12345'),
  ('project.debt | times: 2', '-7'),
  ('project.zero | plus: 0.1 | plus: 0.2', '0.3'),
  ('project.none | plus: 5', null),
  ('contact.bad | plus: 5', 'call me !filter_not_applied'),
  ('project.start | plus: "3 days"', '2026-03-11'),
  ('project.start | minus: "1 month"', '2026-02-08'),
  ('project.start | plus: "12 hours"', '2026-03-08T17:00:00Z'),
  ('project.at | plus: "1 day"', '2026-03-09T05:30:00Z'),
  ('project.at | plus: "24 hours"', '2026-03-09T06:30:00Z'),
  ('project.at | formatDate', 'Mar 8, 2026'),
  ('project.at | formatDate: "EEEE, MMMM do, h:mm a"', 'Sunday, March 8th, 1:30 AM'),
  ('project.at | formatDate: "dddd D MMM YYYY HH:mm:ss"', 'Sunday 8 Mar 2026 01:30:00'),
  ('project.at | formatDate: "full"', 'Sunday, March 8, 2026'),
  ('project.at | formatDate: "h ''o''''clock''"', '1 oclock'),
  ('project.at | formatDate: "HH:mm", "Asia/Kolkata"', '12:00'),
  ('project.start | formatDate: "short"', '3/8/2026'),
  ('project.at | plus: "3 hours" | formatDate: "h:mm a"', '5:30 AM'),
  ('contact.bad | formatDate', 'call me !filter_not_applied'),
  ('contact.object | upper', '{"a": 1} !filter_not_applied'),
  ('contact.first_name | first', 'ann-marie !filter_not_applied'),
  ('contact.first_name | join', 'ann-marie !filter_not_applied'),
  ('now | formatDate: "h:mm a"', '8:00 AM'),
  ('today', '2026-03-08'),
  ('today | plus: "1 day" | formatDate: "EEEE"', 'Monday')
) as filters (template, rendered);

select is(pg_temp.rendered('{{project.at | formatDate: "h:mm a"}}', '{"zone": "Nowhere"}'), '6:30 AM',
  'an unknown zone is read as UTC');
select is(pg_temp.rendered('{{project.value | formatCurrency}}', '{"currency": "GBP"}'), '£12,345.68',
  'the currency of the tenant');
select is(pg_temp.rendered('{{project.value | formatCurrency}}', '{"locale": "nl-NL"}'),
  U&'$\00A012.345,68', 'the locale of the tenant');
select is(pg_temp.rendered('{{project.at | formatDate: "h:mm a", contact.bad}}'), '1:30 AM',
  'a zone that comes from a record and is none leaves the tenant''s');
select is(pg_temp.rendered('{{contact.missing}}'), null, 'what is missing has no value');

-- Read in the tenant's country.
select is(pg_temp.rendered('{{ "07911 123456" | formatPhone }}', '{"country": "GB"}'), '+447911123456', 'a mobile of a British office');
select is(pg_temp.rendered('{{ "512 555 0142" | formatPhone }}', '{"country": "GB"}'), '512 555 0142 !filter_not_applied', 'is no American one there');
select is(pg_temp.rendered('{{ "+1 512 555 0142" | formatPhone }}', '{"country": "GB"}'), '(512) 555-0142', 'but with its country code');

select * from finish();
rollback;
