-- Generated from recipes/ by scripts/types. Do not edit.

insert into automation.recipes (name, place, document) values
  ('speed-to-lead', 1, $recipe${
  "recipe": "speed-to-lead",
  "version": 1,
  "name": "Speed to lead",
  "description": "A form was filled in: somebody is made responsible and has a task to call at once, the lead gets a text (at night in the morning); without an answer whoever is responsible is alerted, and an email and a text follow. An answer, a call or an appointment ends it.",
  "needs": {
    "entities": [
      "contact",
      "appointment"
    ],
    "senders": [
      "sms",
      "email"
    ]
  },
  "questions": [
    {
      "name": "form",
      "ask": "Which form? Without an answer: every form.",
      "type": "form",
      "optional": true
    },
    {
      "name": "reps",
      "ask": "Who takes new leads, in turns?",
      "type": "members"
    },
    {
      "name": "call_within",
      "ask": "Within how many minutes is a lead called?",
      "type": "number",
      "default": 5,
      "minimum": 1,
      "maximum": 240
    },
    {
      "name": "alert_after",
      "ask": "After how long without an answer is the one responsible alerted?",
      "type": "duration",
      "default": "10 minutes"
    },
    {
      "name": "send_at",
      "ask": "At what time of the day do the later messages go out?",
      "type": "time",
      "default": "10:00"
    }
  ],
  "workflows": [
    {
      "name": "Speed to lead",
      "trigger_type": "form_submitted",
      "trigger_config": {
        "form": "[[form]]"
      },
      "settings": {
        "dedupe_key": "{{contact.id}}",
        "reentry": {
          "once_in": "1 day"
        },
        "exit_events": [
          "sms_received",
          "email_received",
          "call_completed",
          "appointment_booked"
        ]
      },
      "steps": [
        {
          "step_key": "assign",
          "step_type": "assign_user",
          "step_config": {
            "user_ids": "[[reps]]",
            "entity": "contact"
          }
        },
        {
          "step_key": "call",
          "step_type": "create_task",
          "step_config": {
            "title": "Call {{contact.first_name}} {{contact.last_name}}: new lead",
            "priority": "urgent",
            "due_in_minutes": "[[call_within]]",
            "assigned_to": "{{user.id}}"
          }
        },
        {
          "step_key": "text_now",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, this is {{tenant.name}}. We got your request and will call you shortly. Reply STOP to opt out.",
            "purpose": "transactional"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "duration": "[[alert_after]]"
          }
        },
        {
          "step_key": "alert",
          "step_type": "notify_member",
          "step_config": {
            "user_id": "{{contact.assigned_to}}",
            "channel": "sms",
            "body": "New lead without an answer: {{contact.first_name}} {{contact.last_name}}, {{contact.phone}}"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 1,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "email_day_1",
          "step_type": "send_email",
          "step_config": {
            "subject": "Your request to {{tenant.name}}",
            "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>thank you for asking us. When would it suit you to talk about your project? Just answer this email.</p><p>{{tenant.name}}</p>",
            "purpose": "marketing"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 2,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "text_day_3",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, do you still need help with your project? A short answer is enough. {{tenant.name}}",
            "purpose": "marketing"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('missed-call-text-back', 2, $recipe${
  "recipe": "missed-call-text-back",
  "version": 1,
  "name": "Missed-call text-back",
  "description": "A call was missed: the caller becomes a contact, gets a text within a minute, once a day, and is called back after two hours. An answer or a call that is completed ends it. A landline gets no text, and is called back all the same.",
  "needs": {
    "entities": [
      "contact"
    ],
    "senders": [
      "sms"
    ]
  },
  "questions": [
    {
      "name": "from",
      "ask": "Which number texts back? Without an answer: your default number.",
      "type": "sender",
      "channel": "sms",
      "optional": true
    },
    {
      "name": "callback_by",
      "ask": "Who calls back? Without an answer: whoever is responsible for the contact.",
      "type": "member",
      "optional": true
    },
    {
      "name": "callback_after",
      "ask": "How long is an answer waited for?",
      "type": "duration",
      "default": "2 hours"
    }
  ],
  "workflows": [
    {
      "name": "Missed-call text-back",
      "trigger_type": "call_missed",
      "trigger_config": {
        "direction": "inbound"
      },
      "settings": {
        "dedupe_key": "{{call.from_number}}",
        "reentry": {
          "once_in": "24 hours"
        },
        "exit_events": [
          "sms_received",
          "call_completed"
        ]
      },
      "steps": [
        {
          "step_key": "caller",
          "step_type": "find_or_create_contact",
          "step_config": {
            "phone": "{{call.from_number}}",
            "fields": {
              "first_name": "Caller",
              "last_name": "{{call.from_number}}",
              "source": "missed_call"
            }
          }
        },
        {
          "step_key": "text",
          "step_type": "send_sms",
          "step_config": {
            "to": "{{call.from_number}}",
            "from": "[[from]]",
            "body": "Sorry that we missed your call. This is {{tenant.name}}: how can we help? Reply STOP to opt out.",
            "purpose": "transactional"
          },
          "continue_on_error": true
        },
        {
          "step_type": "wait",
          "step_config": {
            "duration": "[[callback_after]]"
          }
        },
        {
          "step_key": "call_back",
          "step_type": "create_task",
          "step_config": {
            "title": "Call {{call.from_number}} back",
            "priority": "urgent",
            "due_in_minutes": 15,
            "assigned_to": "[[callback_by]]"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('estimate-follow-up', 3, $recipe${
  "recipe": "estimate-follow-up",
  "version": 1,
  "name": "Estimate follow-up",
  "description": "An estimate was sent: a text after two days, an email after four, a text after seven, and a task after two weeks. An answer, or the estimate won or lost, ends it; an estimate that is sent again begins anew.",
  "needs": {
    "entities": [
      "project"
    ],
    "senders": [
      "sms",
      "email"
    ]
  },
  "questions": [
    {
      "name": "sent_stage",
      "ask": "In which stage is a project whose estimate was sent?",
      "type": "value",
      "default": "estimate_sent"
    },
    {
      "name": "closed_stages",
      "ask": "Which stages mean won or lost?",
      "type": "values",
      "default": [
        "won",
        "lost"
      ]
    },
    {
      "name": "send_at",
      "ask": "At what time of the day do messages go out?",
      "type": "time",
      "default": "10:00"
    },
    {
      "name": "signature",
      "ask": "Who signs?",
      "type": "text",
      "default": "Your team"
    }
  ],
  "workflows": [
    {
      "name": "Estimate follow-up",
      "trigger_type": "pipeline_stage_changed",
      "trigger_config": {
        "to": "[[sent_stage]]",
        "on_insert": true
      },
      "settings": {
        "reentry": "restart",
        "exit_events": [
          "sms_received",
          "email_received",
          {
            "type": "pipeline_stage_changed",
            "config": {
              "to": "[[closed_stages]]"
            }
          }
        ]
      },
      "steps": [
        {
          "step_type": "wait",
          "step_config": {
            "days": 2,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "text_day_2",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, {{tenant.name}} here: do you have any questions about your estimate for {{project.name}}? Reply STOP to opt out.",
            "purpose": "marketing"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 2,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "email_day_4",
          "step_type": "send_email",
          "step_config": {
            "subject": "Your estimate for {{project.name}}",
            "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>we would like to get your project on the calendar. If anything in our estimate for {{project.name}} is unclear, just answer this email.</p><p>[[signature]]<br>{{tenant.name}}</p>",
            "purpose": "marketing"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 3,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "text_day_7",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, the estimate for {{project.name}} still stands. Shall we reserve a date? {{tenant.name}}",
            "purpose": "marketing"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 7,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "task_day_14",
          "step_type": "create_task",
          "step_config": {
            "title": "Call {{contact.first_name}} {{contact.last_name}} about the estimate for {{project.name}}",
            "due_in_days": 1,
            "assigned_to": "{{user.id}}"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('won-welcome', 4, $recipe${
  "recipe": "won-welcome",
  "version": 1,
  "name": "Won welcome",
  "description": "A project is won: the project of its production is created, once, the customer is tagged and welcomed by email, somebody is made responsible and the deposit is asked for.",
  "needs": {
    "entities": [
      "project"
    ],
    "senders": [
      "email"
    ]
  },
  "questions": [
    {
      "name": "manager",
      "ask": "Who runs the production of what is won?",
      "type": "member"
    },
    {
      "name": "tag",
      "ask": "How are customers tagged?",
      "type": "text",
      "default": "customer"
    },
    {
      "name": "deposit_days",
      "ask": "In how many days is the deposit due?",
      "type": "number",
      "default": 3,
      "minimum": 0,
      "maximum": 90
    }
  ],
  "workflows": [
    {
      "name": "Won welcome",
      "trigger_type": "project_won",
      "trigger_config": {
        "on_insert": true
      },
      "settings": {
        "reentry": "never"
      },
      "steps": [
        {
          "step_key": "production",
          "step_type": "create_project",
          "step_config": {
            "key": "production of {{project.id}}",
            "name": "Production: {{project.name}}"
          }
        },
        {
          "step_key": "tag",
          "step_type": "add_tag",
          "step_config": {
            "tag": "[[tag]]"
          }
        },
        {
          "step_key": "assign",
          "step_type": "assign_user",
          "step_config": {
            "user_id": "[[manager]]",
            "entity": "contact"
          }
        },
        {
          "step_key": "welcome",
          "step_type": "send_email",
          "step_config": {
            "subject": "Welcome to {{tenant.name}}",
            "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>thank you for choosing us for {{project.name}}. {{user.full_name | default: \"We\"}} will be in touch about the dates.</p><p>{{tenant.name}}</p>",
            "purpose": "transactional"
          }
        },
        {
          "step_key": "deposit",
          "step_type": "create_task",
          "step_config": {
            "title": "Ask {{contact.first_name}} {{contact.last_name}} for the deposit of {{project.name}}",
            "due_in_days": "[[deposit_days]]",
            "assigned_to": "{{user.id}}"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('review-request', 5, $recipe${
  "recipe": "review-request",
  "version": 1,
  "name": "Review request",
  "description": "The morning after a job is done, a text with your review link, if nothing is owed and nobody has complained; after three days an email to whoever has not followed the link. The same link for everybody.",
  "needs": {
    "entities": [
      "job",
      "project"
    ],
    "senders": [
      "sms",
      "email"
    ]
  },
  "questions": [
    {
      "name": "review_url",
      "ask": "Where do customers write a review?",
      "type": "url"
    },
    {
      "name": "balance",
      "ask": "Which field says what is still owed?",
      "type": "field",
      "default": "project.custom_fields.balance_due"
    },
    {
      "name": "complaint",
      "ask": "Which field says that there is an open complaint?",
      "type": "field",
      "default": "contact.custom_fields.open_complaint"
    },
    {
      "name": "send_at",
      "ask": "At what time of the day do messages go out?",
      "type": "time",
      "default": "10:00"
    }
  ],
  "workflows": [
    {
      "name": "Review request",
      "trigger_type": "job_completed",
      "settings": {
        "reentry": "never"
      },
      "steps": [
        {
          "step_type": "wait",
          "step_config": {
            "days": 1,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_type": "stop",
          "step_config": {
            "reason": "Something is still owed"
          },
          "conditions": [
            {
              "field": "[[balance]]",
              "operator": "greater_than",
              "value": 0
            }
          ]
        },
        {
          "step_type": "stop",
          "step_config": {
            "reason": "There is an open complaint"
          },
          "conditions": {
            "all": [
              {
                "field": "[[complaint]]",
                "operator": "is_not_empty"
              },
              {
                "not": {
                  "field": "[[complaint]]",
                  "operator": "is_false"
                }
              }
            ]
          }
        },
        {
          "step_key": "ask_by_text",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, thank you for choosing {{tenant.name}}! Would you tell others how we did? [[review_url]] Reply STOP to opt out.",
            "purpose": "marketing",
            "track_links": true
          }
        },
        {
          "step_key": "click",
          "step_type": "wait",
          "step_config": {
            "event": {
              "type": "sms_clicked",
              "config": {
                "step_key": "ask_by_text"
              }
            },
            "timeout": "3 days"
          },
          "branches": {
            "event": [
              {
                "step_type": "stop",
                "step_config": {
                  "reason": "The link was followed"
                }
              }
            ],
            "timeout": [
              {
                "step_key": "ask_by_email",
                "step_type": "send_email",
                "step_config": {
                  "subject": "How did we do?",
                  "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>thank you for choosing {{tenant.name}}. A few words from you help us a lot:</p><p><a href=\"[[review_url]]\">Write a review</a></p>",
                  "purpose": "marketing"
                }
              }
            ]
          }
        }
      ]
    }
  ]
}$recipe$),
  ('storm', 6, $recipe${
  "recipe": "storm",
  "version": 1,
  "name": "Storm",
  "description": "After a storm, a text to the customers whom you enrol by ZIP code, three days later an email; an answer to either makes an inspection task. Start it with enroll_records(workflow_id, filter, per_minute); the gate asks for consent, the carrier's rate and the cap of marketing.",
  "needs": {
    "entities": [
      "contact"
    ],
    "senders": [
      "sms",
      "email"
    ]
  },
  "questions": [
    {
      "name": "storm_name",
      "ask": "What do you call the storm in your messages?",
      "type": "text",
      "default": "the recent hail storm"
    },
    {
      "name": "wait_for_reply",
      "ask": "How long is an answer to the text waited for?",
      "type": "duration",
      "default": "3 days"
    },
    {
      "name": "task_hours",
      "ask": "Within how many hours is an inspection scheduled?",
      "type": "number",
      "default": 4,
      "minimum": 1,
      "maximum": 240
    }
  ],
  "workflows": [
    {
      "name": "Storm",
      "trigger_type": "manual",
      "settings": {
        "reentry": "not_while_open"
      },
      "steps": [
        {
          "step_key": "text",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, this is {{tenant.name}}. Your area was hit by [[storm_name]]. Shall we look at your roof, free of charge? Reply YES and we will call. Reply STOP to opt out.",
            "purpose": "marketing",
            "over_cap": "hold"
          }
        },
        {
          "step_key": "answer_to_text",
          "step_type": "wait",
          "step_config": {
            "event": "sms_received",
            "timeout": "[[wait_for_reply]]"
          },
          "branches": {
            "event": [
              {
                "step_type": "create_task",
                "step_config": {
                  "title": "Schedule an inspection: {{contact.first_name}} {{contact.last_name}} answered our text",
                  "priority": "high",
                  "due_in_hours": "[[task_hours]]",
                  "assigned_to": "{{user.id}}"
                }
              },
              {
                "step_type": "stop",
                "step_config": {
                  "reason": "Answered the text"
                }
              }
            ],
            "timeout": [
              {
                "step_key": "email",
                "step_type": "send_email",
                "step_config": {
                  "subject": "Was your roof damaged by [[storm_name]]?",
                  "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>hail damage often shows only when it is too late to claim it. We look at your roof free of charge: just answer this email.</p><p>{{tenant.name}}</p>",
                  "purpose": "marketing"
                }
              },
              {
                "step_key": "answer_to_email",
                "step_type": "wait",
                "step_config": {
                  "event": "email_received",
                  "timeout": "14 days"
                },
                "branches": {
                  "event": [
                    {
                      "step_type": "create_task",
                      "step_config": {
                        "title": "Schedule an inspection: {{contact.first_name}} {{contact.last_name}} answered our email",
                        "priority": "high",
                        "due_in_hours": "[[task_hours]]",
                        "assigned_to": "{{user.id}}"
                      }
                    }
                  ],
                  "timeout": []
                }
              }
            ]
          }
        }
      ]
    }
  ]
}$recipe$),
  ('payment-reminder', 7, $recipe${
  "recipe": "payment-reminder",
  "version": 1,
  "name": "Payment reminder",
  "description": "Three days before an invoice is due, on the day, three and seven days after it, what is still to be paid; two weeks after it the office takes over. Paying ends it, a part payment shows in the next message, a due date that changes begins anew.",
  "needs": {
    "entities": [
      "invoice"
    ],
    "senders": [
      "sms",
      "email"
    ]
  },
  "questions": [
    {
      "name": "due",
      "ask": "Which field says when an invoice is due?",
      "type": "field",
      "entity": "invoice",
      "default": "invoice.due_on"
    },
    {
      "name": "balance",
      "ask": "Which field says what is still to be paid?",
      "type": "field",
      "entity": "invoice",
      "default": "invoice.balance"
    },
    {
      "name": "number",
      "ask": "Which field is the number of an invoice?",
      "type": "field",
      "entity": "invoice",
      "default": "invoice.number"
    },
    {
      "name": "pay_url",
      "ask": "Where can it be paid?",
      "type": "url",
      "optional": true
    },
    {
      "name": "collector",
      "ask": "Who takes over what is not paid after two weeks?",
      "type": "member"
    },
    {
      "name": "send_at",
      "ask": "At what time of the day do messages go out?",
      "type": "time",
      "default": "10:00"
    }
  ],
  "workflows": [
    {
      "name": "Payment reminder",
      "trigger_type": "field_changed",
      "trigger_config": {
        "entity": "[[due.entity]]",
        "field": "[[due.field]]",
        "on_insert": true
      },
      "conditions": [
        {
          "field": "[[balance]]",
          "operator": "greater_than",
          "value": 0
        }
      ],
      "settings": {
        "reentry": "restart",
        "exit_events": [
          "invoice_paid"
        ],
        "exit_conditions": [
          {
            "field": "[[balance]]",
            "operator": "less_or_equal",
            "value": 0
          }
        ]
      },
      "steps": [
        {
          "step_key": "before",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[due]]}}",
            "offset": "-3 days",
            "at": "[[send_at]]",
            "zone": "contact",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "text_before",
          "step_type": "send_sms",
          "conditions": [
            {
              "field": "steps.before.result",
              "operator": "equals",
              "value": "waited"
            }
          ],
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, invoice {{[[number]]}} from {{tenant.name}} is due on {{[[due]] | formatDate: \"MMMM d\"}}: {{[[balance]] | formatCurrency}}. [[pay_url]] Reply STOP to opt out.",
            "purpose": "transactional"
          }
        },
        {
          "step_key": "on_the_day",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[due]]}}",
            "offset": "0 days",
            "at": "[[send_at]]",
            "zone": "contact",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "text_due",
          "step_type": "send_sms",
          "conditions": [
            {
              "field": "steps.on_the_day.result",
              "operator": "equals",
              "value": "waited"
            }
          ],
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, invoice {{[[number]]}} from {{tenant.name}} is due today: {{[[balance]] | formatCurrency}}. [[pay_url]]",
            "purpose": "transactional"
          }
        },
        {
          "step_key": "after_3",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[due]]}}",
            "offset": "3 days",
            "at": "[[send_at]]",
            "zone": "contact",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "email_after_3",
          "step_type": "send_email",
          "conditions": [
            {
              "field": "steps.after_3.result",
              "operator": "equals",
              "value": "waited"
            }
          ],
          "step_config": {
            "subject": "Invoice {{[[number]]}} is overdue",
            "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>{{[[balance]] | formatCurrency}} of invoice {{[[number]]}} were due on {{[[due]] | formatDate: \"MMMM d\"}}. If you have paid by now, please disregard this.</p><p>[[pay_url]]</p><p>{{tenant.name}}</p>",
            "purpose": "transactional"
          }
        },
        {
          "step_key": "after_7",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[due]]}}",
            "offset": "7 days",
            "at": "[[send_at]]",
            "zone": "contact",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "text_after_7",
          "step_type": "send_sms",
          "conditions": [
            {
              "field": "steps.after_7.result",
              "operator": "equals",
              "value": "waited"
            }
          ],
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, {{[[balance]] | formatCurrency}} of invoice {{[[number]]}} are a week overdue. Is there a problem? Just answer. {{tenant.name}} [[pay_url]]",
            "purpose": "transactional"
          }
        },
        {
          "step_key": "after_14",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[due]]}}",
            "offset": "14 days",
            "at": "[[send_at]]",
            "zone": "contact",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "escalate",
          "step_type": "create_task",
          "step_config": {
            "title": "Invoice {{[[number]]}} of {{contact.first_name}} {{contact.last_name}}: {{[[balance]] | formatCurrency}} two weeks overdue",
            "priority": "urgent",
            "due_in_hours": 4,
            "assigned_to": "[[collector]]"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('appointment-reminder', 8, $recipe${
  "recipe": "appointment-reminder",
  "version": 1,
  "name": "Appointment reminder",
  "description": "An appointment is confirmed when it is booked or moved, and reminded of a day and two hours before it, by the clock on the wall. One that is cancelled is not; what would come too late is left out.",
  "needs": {
    "entities": [
      "appointment"
    ],
    "senders": [
      "sms"
    ]
  },
  "questions": [
    {
      "name": "starts",
      "ask": "Which field says when an appointment begins?",
      "type": "field",
      "entity": "appointment",
      "default": "appointment.starts_at"
    },
    {
      "name": "booked",
      "ask": "Which status means that it holds?",
      "type": "value",
      "default": "booked"
    }
  ],
  "workflows": [
    {
      "name": "Appointment reminder",
      "trigger_type": "field_changed",
      "trigger_config": {
        "entity": "[[starts.entity]]",
        "field": "[[starts.field]]",
        "on_insert": true
      },
      "conditions": [
        {
          "field": "[[starts.entity]].status",
          "operator": "equals",
          "value": "[[booked]]"
        },
        {
          "field": "[[starts]]",
          "operator": "after",
          "value": "now"
        }
      ],
      "settings": {
        "reentry": "restart",
        "exit_events": [
          "appointment_cancelled"
        ],
        "exit_conditions": [
          {
            "field": "[[starts.entity]].status",
            "operator": "not_equals",
            "value": "[[booked]]"
          }
        ]
      },
      "steps": [
        {
          "step_key": "confirm",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, your appointment with {{tenant.name}} is on {{[[starts]] | formatDate: \"EEEE, MMMM d 'at' h:mm a\"}}. Answer this text to change it. Reply STOP to opt out.",
            "purpose": "transactional",
            "expires_at": "{{[[starts]]}}"
          }
        },
        {
          "step_key": "day_before",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[starts]]}}",
            "offset": "-1 day",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "remind_day",
          "step_type": "send_sms",
          "conditions": [
            {
              "field": "steps.day_before.result",
              "operator": "equals",
              "value": "waited"
            }
          ],
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, see you tomorrow at {{[[starts]] | formatDate: \"h:mm a\"}}. {{tenant.name}}",
            "purpose": "transactional"
          }
        },
        {
          "step_key": "hours_before",
          "step_type": "wait",
          "step_config": {
            "until": "{{[[starts]]}}",
            "offset": "-2 hours",
            "if_past": "continue",
            "if_missing": "stop"
          }
        },
        {
          "step_key": "remind_hours",
          "step_type": "send_sms",
          "conditions": [
            {
              "field": "steps.hours_before.result",
              "operator": "equals",
              "value": "waited"
            }
          ],
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, see you today at {{[[starts]] | formatDate: \"h:mm a\"}}. {{tenant.name}}",
            "purpose": "transactional"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('stalled-nudge', 9, $recipe${
  "recipe": "stalled-nudge",
  "version": 1,
  "name": "Stalled nudge",
  "description": "A project that nobody has moved for ten business days: whoever is responsible gets a task, three days later the manager is told, and a day after that the customer is asked. A move by a person, or an answer, ends it; what automations change is no activity.",
  "needs": {
    "entities": [
      "project"
    ],
    "senders": [
      "sms"
    ]
  },
  "questions": [
    {
      "name": "stage",
      "ask": "Which field is the stage of a project?",
      "type": "field",
      "entity": "project",
      "default": "project.pipeline_stage"
    },
    {
      "name": "open_stages",
      "ask": "In which stages can a project stall?",
      "type": "values",
      "default": [
        "new",
        "contacted",
        "estimate_sent",
        "negotiation"
      ]
    },
    {
      "name": "after",
      "ask": "After how long without a move?",
      "type": "duration",
      "default": "10 business days"
    },
    {
      "name": "manager",
      "ask": "Who is told when nothing happens?",
      "type": "member"
    }
  ],
  "workflows": [
    {
      "name": "Stalled nudge",
      "trigger_type": "time_elapsed",
      "trigger_config": {
        "entity": "project",
        "changed": "[[stage.field]]",
        "offset": "[[after]]",
        "at": "09:00"
      },
      "conditions": [
        {
          "field": "[[stage]]",
          "operator": "in",
          "value": "[[open_stages]]"
        }
      ],
      "settings": {
        "exit_events": [
          "sms_received",
          "email_received",
          {
            "type": "field_changed",
            "config": {
              "entity": "project",
              "field": "[[stage.field]]"
            }
          }
        ]
      },
      "steps": [
        {
          "step_key": "task",
          "step_type": "create_task",
          "step_config": {
            "title": "{{project.name}} has stalled: call {{contact.first_name}} {{contact.last_name}}",
            "priority": "high",
            "due_in_days": 1,
            "assigned_to": "{{user.id}}"
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 3,
            "at": "09:00"
          }
        },
        {
          "step_key": "tell_manager",
          "step_type": "notify_member",
          "step_config": {
            "user_id": "[[manager]]",
            "channel": "sms",
            "body": "{{project.name}} of {{contact.first_name}} {{contact.last_name}} has not moved for two weeks ({{[[stage]]}})."
          }
        },
        {
          "step_type": "wait",
          "step_config": {
            "days": 1,
            "at": "10:00",
            "zone": "contact"
          }
        },
        {
          "step_key": "ask_customer",
          "step_type": "send_sms",
          "step_config": {
            "body": "Hi {{contact.first_name | default: \"there\"}}, {{tenant.name}} here. Are you still thinking about {{project.name}}? A short answer helps us plan. Reply STOP to opt out.",
            "purpose": "marketing"
          }
        }
      ]
    }
  ]
}$recipe$),
  ('referral', 10, $recipe${
  "recipe": "referral",
  "version": 1,
  "name": "Referral",
  "description": "A month after a job is done, an email with a link to your referral form. Whoever is referred becomes a contact and is tagged, and so is who referred them, who is thanked once for each referral.",
  "needs": {
    "entities": [
      "job",
      "contact"
    ],
    "senders": [
      "email"
    ]
  },
  "questions": [
    {
      "name": "form",
      "ask": "Which of your forms takes referrals? It asks for the new person's name and telephone number, and in referrer_email who sends them.",
      "type": "form"
    },
    {
      "name": "form_url",
      "ask": "On which page is that form?",
      "type": "url"
    },
    {
      "name": "send_at",
      "ask": "At what time of the day does the email go out?",
      "type": "time",
      "default": "10:00"
    },
    {
      "name": "referred_tag",
      "ask": "How are people tagged who were referred?",
      "type": "text",
      "default": "referred"
    },
    {
      "name": "referrer_tag",
      "ask": "And who referred them?",
      "type": "text",
      "default": "referrer"
    }
  ],
  "workflows": [
    {
      "name": "Referral: ask",
      "trigger_type": "job_completed",
      "settings": {
        "dedupe_key": "{{contact.id}}",
        "reentry": {
          "once_in": "180 days"
        }
      },
      "steps": [
        {
          "step_type": "wait",
          "step_config": {
            "days": 30,
            "at": "[[send_at]]",
            "zone": "contact"
          }
        },
        {
          "step_key": "ask",
          "step_type": "send_email",
          "step_config": {
            "subject": "Do you know somebody who needs a roof?",
            "html": "<p>Hi {{contact.first_name | default: \"there\"}},</p><p>most of our customers come through people like you. If you know somebody who could use our help, tell us here:</p><p><a href=\"[[form_url]]?referrer_email={{contact.email | url_encode}}\">Refer somebody</a></p><p>{{tenant.name}}</p>",
            "purpose": "marketing"
          }
        }
      ]
    },
    {
      "name": "Referral: thank",
      "trigger_type": "form_submitted",
      "trigger_config": {
        "form": "[[form]]"
      },
      "conditions": [
        {
          "field": "form_submission.data.referrer_email",
          "operator": "is_not_empty"
        }
      ],
      "settings": {
        "dedupe_key": "{{contact.id}}",
        "reentry": "never"
      },
      "steps": [
        {
          "step_key": "tag_referred",
          "step_type": "add_tag",
          "step_config": {
            "tag": "[[referred_tag]]"
          }
        },
        {
          "step_key": "referrer",
          "step_type": "find_or_create_contact",
          "step_config": {
            "email": "{{form_submission.data.referrer_email}}",
            "fields": {
              "first_name": "Referrer",
              "last_name": "{{form_submission.data.referrer_email}}"
            }
          }
        },
        {
          "step_key": "tag_referrer",
          "step_type": "add_tag",
          "step_config": {
            "tag": "[[referrer_tag]]",
            "target": "{{steps.referrer.contact_id}}"
          }
        },
        {
          "step_key": "thank",
          "step_type": "send_email",
          "step_config": {
            "to": "{{form_submission.data.referrer_email}}",
            "subject": "Thank you for your referral",
            "html": "<p>Thank you for telling us about {{contact.first_name | default: \"somebody\"}}. We will take good care of them.</p><p>{{tenant.name}}</p>",
            "purpose": "transactional"
          }
        }
      ]
    }
  ]
}$recipe$)
on conflict on constraint recipes_pkey do update set (place, document) = row (excluded.place, excluded.document);
