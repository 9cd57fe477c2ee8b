// Generated from sql/ by scripts/types. Do not edit.

export const stepTypes = [
  {
    "name": "add_tag",
    "lane": "database",
    "branches": null,
    "description": "Tags the contact; a tag that is new is made.",
    "config_schema": {
      "type": "object",
      "title": "add_tag",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "tag": "spring-campaign"
        }
      ],
      "required": [
        "tag"
      ],
      "properties": {
        "tag": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "minLength": 1,
          "description": "Its name."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another contact."
        }
      }
    }
  },
  {
    "name": "assign_user",
    "lane": "database",
    "branches": null,
    "description": "Makes a user responsible for the contact, project or job.",
    "config_schema": {
      "type": "object",
      "oneOf": [
        {
          "required": [
            "user_id"
          ]
        },
        {
          "required": [
            "user_ids"
          ]
        }
      ],
      "title": "assign_user",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "user_id": "{{project.assigned_to}}"
        },
        {
          "user_ids": [
            "7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11",
            "0b6e3d52-91c4-4c0b-8f2e-5d3a7c1e9f20"
          ]
        }
      ],
      "properties": {
        "entity": {
          "type": "string",
          "format": "template",
          "description": "Of what. Default: contact, or as the variable in target says."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another record than the run's."
        },
        "user_id": {
          "type": "string",
          "format": "id",
          "description": "Who."
        },
        "user_ids": {
          "type": "array",
          "items": {
            "type": "string",
            "format": "id"
          },
          "maxItems": 100,
          "minItems": 1,
          "description": "Several, who take turns."
        }
      }
    }
  },
  {
    "name": "change_stage",
    "lane": "database",
    "branches": null,
    "description": "Moves the contact, project or job to another stage.",
    "config_schema": {
      "type": "object",
      "title": "change_stage",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "stage": "estimate_sent",
          "entity": "project"
        }
      ],
      "required": [
        "stage"
      ],
      "properties": {
        "stage": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "minLength": 1,
          "description": "Where to."
        },
        "entity": {
          "type": "string",
          "format": "template",
          "description": "contact, project or job. Default: what the run is about, or as the variable in target says."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another record than the run's."
        }
      }
    }
  },
  {
    "name": "conditional",
    "lane": "database",
    "branches": [
      "then",
      "else"
    ],
    "description": "Takes a branch: then or else, or the first of several whose conditions hold.",
    "config_schema": {
      "type": "object",
      "oneOf": [
        {
          "required": [
            "conditions"
          ]
        },
        {
          "required": [
            "branches"
          ]
        }
      ],
      "title": "conditional",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "conditions": [
            {
              "field": "project.value",
              "value": 10000,
              "operator": "greater_than"
            }
          ]
        },
        {
          "branches": [
            {
              "name": "hot",
              "conditions": {
                "field": "contact.lead_score",
                "value": 80,
                "operator": "greater_or_equal"
              }
            },
            {
              "name": "warm",
              "conditions": {
                "field": "contact.lead_score",
                "value": 40,
                "operator": "greater_or_equal"
              }
            }
          ]
        }
      ],
      "properties": {
        "branches": {
          "type": "array",
          "items": {
            "type": "object",
            "title": "a branch",
            "required": [
              "name",
              "conditions"
            ],
            "properties": {
              "name": {
                "type": "string",
                "pattern": "^(?!else$)[A-Za-z][A-Za-z0-9_]{0,40}$",
                "description": "What steps on this branch have in branch.",
                "errorMessage": "name must be a letter and at most 40 letters, digits or _, and not else"
              },
              "conditions": {
                "format": "conditions",
                "description": "When it is taken."
              }
            }
          },
          "maxItems": 20,
          "minItems": 1,
          "description": "The first whose conditions hold is taken, and else when none do.",
          "uniqueItemProperties": [
            "name"
          ]
        },
        "conditions": {
          "format": "conditions",
          "description": "When they hold the branch then is taken, otherwise else."
        }
      }
    }
  },
  {
    "name": "create_project",
    "lane": "database",
    "branches": null,
    "description": "Creates a project for the contact, once for a key.",
    "config_schema": {
      "type": "object",
      "title": "create_project",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "key": "roof",
          "name": "Roof of {{contact.last_name}}"
        }
      ],
      "required": [
        "name"
      ],
      "properties": {
        "key": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "minLength": 1,
          "description": "Which project it is: a contact never gets a second one of this key. Default: the name."
        },
        "name": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Its name."
        },
        "value": {
          "type": [
            "number",
            "string"
          ],
          "format": "template",
          "description": "In the tenant's currency."
        },
        "status": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Default: open."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another contact whose project it is."
        },
        "description": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "More about it."
        },
        "project_type": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Of any kind you keep."
        },
        "pipeline_stage": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Default: new."
        }
      }
    }
  },
  {
    "name": "create_task",
    "lane": "database",
    "branches": null,
    "description": "Creates a task for the office.",
    "config_schema": {
      "type": "object",
      "title": "create_task",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "title": "Call {{contact.first_name}}",
          "due_in_minutes": 5
        },
        {
          "title": "Thank {{contact.first_name}}",
          "target": "{{contact.custom_fields.referred_by}}"
        }
      ],
      "required": [
        "title"
      ],
      "properties": {
        "title": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "What is to do."
        },
        "due_at": {
          "type": "string",
          "format": "moment",
          "minLength": 1,
          "description": "When it is due; a time without a zone is the tenant's."
        },
        "entity": {
          "type": "string",
          "format": "template",
          "description": "Of what target is. Default: as its variable says (contact_id, project.id), else contact."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another record that it is about."
        },
        "priority": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Default: normal."
        },
        "assigned_to": {
          "type": "string",
          "format": "id",
          "minLength": 1,
          "description": "The user who is to do it."
        },
        "description": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "More about it."
        },
        "due_in_days": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "Or how much later."
        },
        "due_in_hours": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "Or how much later."
        },
        "due_in_minutes": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "Or how much later."
        }
      },
      "dependentRequired": {
        "entity": [
          "target"
        ]
      }
    }
  },
  {
    "name": "find_or_create_contact",
    "lane": "database",
    "branches": null,
    "description": "Finds the contact with a phone number or an email address, or makes one; a run without a contact goes on with it.",
    "config_schema": {
      "type": "object",
      "title": "find_or_create_contact",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "phone": "{{call.from_number}}",
          "fields": {
            "source": "missed_call"
          }
        },
        {
          "email": "{{contact.custom_fields.friend_email}}",
          "fields": {
            "first_name": "{{contact.custom_fields.friend_name}}"
          }
        }
      ],
      "properties": {
        "email": {
          "type": "string",
          "format": "template",
          "description": "By which address."
        },
        "phone": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "By which number, however it is written. This or email is needed."
        },
        "fields": {
          "type": "object",
          "format": "template",
          "description": "What a new contact has besides. One that is found stays as it is.",
          "errorMessage": "fields must be an object of at least one field",
          "minProperties": 1,
          "additionalProperties": true
        }
      }
    }
  },
  {
    "name": "notify_member",
    "lane": "sms",
    "branches": null,
    "description": "Texts or emails a member of the office, whom {{user.*}} means in it.",
    "config_schema": {
      "type": "object",
      "title": "notify_member",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "body": "{{contact.first_name}} has not been called yet: {{contact.phone}}",
          "channel": "sms",
          "user_id": "{{contact.assigned_to}}"
        },
        {
          "body": "Hi {{user.full_name}}, nobody has called {{contact.first_name}}.",
          "channel": "email",
          "subject": "A lead is waiting",
          "user_id": "owner"
        }
      ],
      "required": [
        "user_id",
        "channel",
        "body"
      ],
      "properties": {
        "body": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "The message; in an email one with tags in it is HTML."
        },
        "from": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "One of your senders. Default: your default sender."
        },
        "channel": {
          "enum": [
            "sms",
            "email"
          ],
          "description": "How."
        },
        "purpose": {
          "enum": [
            "internal"
          ],
          "description": "It is nothing else: no consent, cap or footer, and hours of its own."
        },
        "subject": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Of an email, which needs one."
        },
        "user_id": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Who: a member's id, such as {{contact.assigned_to}}, or owner or admin."
        },
        "expires_at": {
          "type": "string",
          "format": "moment",
          "minLength": 1,
          "description": "Not sent after then."
        },
        "expires_after": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "Not sent when it was held for longer."
        }
      }
    }
  },
  {
    "name": "remove_tag",
    "lane": "database",
    "branches": null,
    "description": "Takes a tag off the contact.",
    "config_schema": {
      "type": "object",
      "title": "remove_tag",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "tag": "no-show"
        }
      ],
      "required": [
        "tag"
      ],
      "properties": {
        "tag": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "minLength": 1,
          "description": "Its name."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another contact."
        }
      }
    }
  },
  {
    "name": "send_email",
    "lane": "email",
    "branches": null,
    "description": "Sends an email.",
    "config_schema": {
      "type": "object",
      "anyOf": [
        {
          "required": [
            "html"
          ]
        },
        {
          "required": [
            "text"
          ]
        }
      ],
      "title": "send_email",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "html": "<p>Hi {{contact.first_name}}, here it is.</p>",
          "purpose": "transactional",
          "subject": "Your estimate"
        }
      ],
      "required": [
        "subject"
      ],
      "properties": {
        "cc": {
          "type": [
            "string",
            "array"
          ],
          "items": {
            "type": "string",
            "format": "template"
          },
          "format": "template",
          "minLength": 1,
          "description": "Copies."
        },
        "to": {
          "type": [
            "string",
            "array"
          ],
          "items": {
            "type": "string",
            "format": "template"
          },
          "format": "template",
          "description": "Addresses, in a list or between commas; a variable is one. Default: the contact's."
        },
        "bcc": {
          "type": [
            "string",
            "array"
          ],
          "items": {
            "type": "string",
            "format": "template"
          },
          "format": "template",
          "minLength": 1,
          "description": "Blind copies."
        },
        "from": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "One of your addresses, or any in a domain of yours. Default: your default sender."
        },
        "html": {
          "type": "string",
          "format": "html",
          "minLength": 1,
          "description": "The message as HTML; what templates insert is escaped."
        },
        "text": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "The message as plain text; without html it goes out as that alone."
        },
        "headers": {
          "type": "object",
          "description": "Further headers, by name; not those that say who it is from or goes to.",
          "additionalProperties": {
            "type": "string",
            "format": "template"
          }
        },
        "purpose": {
          "enum": [
            "marketing",
            "transactional",
            "internal"
          ],
          "description": "What it is: see docs/trust.md. Default: marketing, or internal where to is written out."
        },
        "subject": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "The subject."
        },
        "over_cap": {
          "enum": [
            "hold",
            "skip"
          ],
          "description": "What becomes of marketing that is one too many for a person. Default: hold."
        },
        "reply_to": {
          "type": [
            "string",
            "array"
          ],
          "items": {
            "type": "string",
            "format": "template"
          },
          "format": "template",
          "minLength": 1,
          "description": "Where answers go."
        },
        "expires_at": {
          "type": "string",
          "format": "moment",
          "minLength": 1,
          "description": "Not sent after then."
        },
        "expires_after": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "Not sent when it was held for longer. Default: three days for marketing."
        }
      }
    }
  },
  {
    "name": "send_sms",
    "lane": "sms",
    "branches": null,
    "description": "Sends a text message.",
    "config_schema": {
      "type": "object",
      "title": "send_sms",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "body": "Hi {{ contact.first_name | default: \"there\" }}, thanks for your call!",
          "purpose": "transactional"
        }
      ],
      "required": [
        "body"
      ],
      "properties": {
        "to": {
          "type": "string",
          "format": "template",
          "description": "A phone number. Default: the contact's."
        },
        "body": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "The text."
        },
        "from": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "One of your senders' numbers. Default: your default sender."
        },
        "urgent": {
          "type": "boolean",
          "description": "A code somebody waits for: no quiet hours, within ten minutes of something they did."
        },
        "purpose": {
          "enum": [
            "marketing",
            "transactional",
            "internal"
          ],
          "description": "What it is: see docs/trust.md. Default: marketing, or internal where to is written out."
        },
        "over_cap": {
          "enum": [
            "hold",
            "skip"
          ],
          "description": "What becomes of marketing that is one too many for a person. Default: hold."
        },
        "expires_at": {
          "type": "string",
          "format": "moment",
          "minLength": 1,
          "description": "Not sent after then."
        },
        "media_urls": {
          "type": [
            "array",
            "string"
          ],
          "items": {
            "type": "string",
            "format": "template"
          },
          "format": "template",
          "description": "Pictures to send along: URLs, or a template that gives a list of them."
        },
        "track_links": {
          "type": "boolean",
          "description": "Links lead through a short one, whose first click of a person is the event sms_clicked."
        },
        "expires_after": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "Not sent when it was held for longer. Default: three days for marketing."
        },
        "messaging_service_sid": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "One of your senders that picks the number itself."
        }
      }
    }
  },
  {
    "name": "split",
    "lane": "database",
    "branches": [],
    "description": "Takes a branch by chance, in proportion to weights; a contact always takes the same one.",
    "config_schema": {
      "type": "object",
      "title": "split",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "branches": [
            {
              "name": "short_text",
              "weight": 50
            },
            {
              "name": "long_text",
              "weight": 50
            }
          ]
        }
      ],
      "required": [
        "branches"
      ],
      "properties": {
        "branches": {
          "type": "array",
          "items": {
            "type": "object",
            "title": "a branch",
            "required": [
              "name",
              "weight"
            ],
            "properties": {
              "name": {
                "type": "string",
                "pattern": "^[A-Za-z][A-Za-z0-9_]{0,40}$",
                "description": "What steps on this branch have in branch.",
                "errorMessage": "name must be a letter and at most 40 letters, digits or _"
              },
              "weight": {
                "type": "number",
                "maximum": 1000000,
                "description": "Its share, as compared with the others'.",
                "exclusiveMinimum": 0
              }
            }
          },
          "maxItems": 10,
          "minItems": 2,
          "description": "What it chooses from.",
          "uniqueItemProperties": [
            "name"
          ]
        }
      }
    }
  },
  {
    "name": "stop",
    "lane": "database",
    "branches": null,
    "description": "Ends the run.",
    "config_schema": {
      "type": "object",
      "title": "stop",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "reason": "Not in our service area",
          "outcome": "cancelled"
        }
      ],
      "properties": {
        "reason": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Why, for the history."
        },
        "outcome": {
          "enum": [
            "completed",
            "cancelled"
          ],
          "description": "Default: completed."
        }
      }
    }
  },
  {
    "name": "update_contact",
    "lane": "database",
    "branches": null,
    "description": "Sets fields of the contact.",
    "config_schema": {
      "type": "object",
      "title": "update_contact",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "fields": {
            "stage": "contacted",
            "custom_fields.reached_on": "{{today}}"
          }
        }
      ],
      "required": [
        "fields"
      ],
      "properties": {
        "fields": {
          "type": "object",
          "format": "template",
          "description": "Values by column; custom_fields.roof_type sets one custom field.",
          "errorMessage": "fields must be an object of at least one field",
          "minProperties": 1,
          "additionalProperties": true
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another contact."
        }
      }
    }
  },
  {
    "name": "update_field",
    "lane": "database",
    "branches": null,
    "description": "Sets one field of the contact, project or job.",
    "config_schema": {
      "type": "object",
      "title": "update_field",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "field": "lead_score",
          "value": "{{ contact.lead_score | plus: 10 }}"
        }
      ],
      "required": [
        "field",
        "value"
      ],
      "properties": {
        "field": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "A column, such as lead_score, project.value or custom_fields.roof_type."
        },
        "value": {
          "format": "template",
          "description": "What to set it to, to add, to take away or to append."
        },
        "entity": {
          "type": "string",
          "format": "template",
          "description": "Whose field. Default: contact, or as field begins, or as the variable in target says."
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another record than the run's."
        },
        "operator": {
          "enum": [
            "set",
            "add",
            "subtract",
            "append"
          ],
          "description": "add and subtract take a number, a length of time or an item of a list. Default: set."
        }
      }
    }
  },
  {
    "name": "update_project",
    "lane": "database",
    "branches": null,
    "description": "Sets fields of the project.",
    "config_schema": {
      "type": "object",
      "title": "update_project",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "fields": {
            "status": "on_hold"
          }
        }
      ],
      "required": [
        "fields"
      ],
      "properties": {
        "fields": {
          "type": "object",
          "format": "template",
          "description": "Values by column; custom_fields.roof_type sets one custom field.",
          "errorMessage": "fields must be an object of at least one field",
          "minProperties": 1,
          "additionalProperties": true
        },
        "target": {
          "type": [
            "string",
            "number"
          ],
          "format": "template",
          "description": "The id of another project."
        }
      }
    }
  },
  {
    "name": "wait",
    "lane": "database",
    "branches": [
      "event",
      "timeout"
    ],
    "description": "Waits: for a length of time, until a date, until a time of day, or for an event.",
    "config_schema": {
      "type": "object",
      "anyOf": [
        {
          "required": [
            "minutes"
          ]
        },
        {
          "required": [
            "hours"
          ]
        },
        {
          "required": [
            "days"
          ]
        },
        {
          "required": [
            "weeks"
          ]
        },
        {
          "required": [
            "duration"
          ]
        },
        {
          "required": [
            "until"
          ]
        },
        {
          "required": [
            "at"
          ]
        },
        {
          "required": [
            "window"
          ]
        },
        {
          "required": [
            "event"
          ]
        }
      ],
      "title": "wait",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "days": 3
        },
        {
          "until": "{{job.scheduled_at}}",
          "offset": "-24 hours",
          "if_past": "stop",
          "if_missing": "stop"
        },
        {
          "until": "{{job.scheduled_at}}",
          "follow": true,
          "offset": "-1 day",
          "if_past": "stop",
          "if_missing": "wait"
        },
        {
          "at": "10:00",
          "days": 1,
          "zone": "contact"
        },
        {
          "window": {
            "to": "17:00",
            "days": [
              "mon",
              "tue",
              "wed",
              "thu",
              "fri"
            ],
            "from": "09:00"
          }
        },
        {
          "event": "sms_received",
          "timeout": "2 hours"
        },
        {
          "event": {
            "type": "stage_changed",
            "config": {
              "to": "won"
            }
          },
          "timeout": {
            "days": 14
          }
        }
      ],
      "properties": {
        "at": {
          "type": "string",
          "format": "time-of-day",
          "description": "With days or a date, at this time of that day; otherwise the next time it is this late."
        },
        "days": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "How long."
        },
        "zone": {
          "type": "string",
          "format": "zone",
          "description": "Whose clock at and window go by. Default: tenant."
        },
        "event": {
          "type": [
            "string",
            "object"
          ],
          "title": "event",
          "required": [
            "type"
          ],
          "properties": {
            "type": {
              "type": "string",
              "description": "A trigger type that a write fires."
            },
            "config": {
              "type": "object",
              "description": "As in trigger_config.",
              "additionalProperties": true
            }
          },
          "description": "Until this happens to the contact or record; then the branch event is taken."
        },
        "hours": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "How long."
        },
        "until": {
          "type": "string",
          "format": "moment",
          "description": "Until then; a date without a time is midnight."
        },
        "weeks": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "How long."
        },
        "follow": {
          "type": "boolean",
          "description": "When the field in until changes while it waits, it waits for the new date. Default: false."
        },
        "offset": {
          "type": [
            "string",
            "object"
          ],
          "format": "signed-length-of-time",
          "description": "So long after until, or with a minus sign before it."
        },
        "window": {
          "type": "object",
          "title": "window",
          "properties": {
            "to": {
              "type": "string",
              "format": "time-of-day",
              "description": "The latest. Default: midnight."
            },
            "days": {
              "type": "array",
              "items": {
                "enum": [
                  "mon",
                  "tue",
                  "wed",
                  "thu",
                  "fri",
                  "sat",
                  "sun"
                ]
              },
              "maxItems": 7,
              "minItems": 1,
              "description": "Default: any day."
            },
            "from": {
              "type": "string",
              "format": "time-of-day",
              "description": "The earliest. Default: midnight."
            }
          },
          "description": "And then until it is between these times, on one of these days.",
          "minProperties": 1
        },
        "if_past": {
          "enum": [
            "continue",
            "stop",
            "fail",
            "skip"
          ],
          "description": "What happens when the time is over already; skip: the next step is left out. Default: continue."
        },
        "minutes": {
          "type": [
            "number",
            "string"
          ],
          "format": "amount",
          "description": "How long."
        },
        "timeout": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "How long to wait for the event; then the branch timeout is taken."
        },
        "duration": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "How long."
        },
        "if_missing": {
          "enum": [
            "fail",
            "continue",
            "stop",
            "skip",
            "wait"
          ],
          "description": "When until has no value; skip: leaves the next step out; wait: until it has one. Default: fail."
        }
      },
      "errorMessage": "wait needs minutes, hours, days or until, or one of weeks, duration, at, window and event",
      "dependentSchemas": {
        "event": {
          "properties": {
            "at": false,
            "days": false,
            "zone": false,
            "hours": false,
            "until": false,
            "weeks": false,
            "follow": false,
            "offset": false,
            "window": false,
            "if_past": false,
            "minutes": false,
            "duration": false,
            "if_missing": false
          }
        },
        "until": {
          "properties": {
            "days": false,
            "hours": false,
            "weeks": false,
            "minutes": false,
            "duration": false
          }
        }
      },
      "dependentRequired": {
        "event": [
          "timeout"
        ],
        "follow": [
          "until"
        ],
        "offset": [
          "until"
        ],
        "if_past": [
          "until"
        ],
        "timeout": [
          "event"
        ],
        "if_missing": [
          "until"
        ]
      }
    }
  },
  {
    "name": "webhook",
    "lane": "webhook",
    "branches": null,
    "description": "Calls a URL, signed the Standard Webhooks way.",
    "config_schema": {
      "type": "object",
      "title": "webhook",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "url": "https://example.com/hooks/won",
          "body": {
            "id": "{{contact.id}}"
          }
        },
        {
          "url": "https://api.example.com/jobs?email={{ contact.email | url_encode }}",
          "method": "GET",
          "headers": {
            "Authorization": {
              "prefix": "Bearer ",
              "secret": "crm_api_key"
            }
          }
        }
      ],
      "required": [
        "url"
      ],
      "properties": {
        "url": {
          "type": "string",
          "format": "template",
          "pattern": "^[hH][tT][tT][pP][sS]?://|^\\{\\{",
          "examples": [
            "https://example.com/hooks/won"
          ],
          "description": "Whom to call.",
          "errorMessage": "url must start with https:// or http://"
        },
        "body": {
          "format": "template",
          "description": "What to send. Default: the event and its records; with GET and DELETE nothing."
        },
        "method": {
          "enum": [
            "POST",
            "PUT",
            "PATCH",
            "GET",
            "DELETE"
          ],
          "description": "Default: POST."
        },
        "headers": {
          "type": "object",
          "description": "Further headers, by name: a text, or a secret by its name.",
          "additionalProperties": {
            "type": [
              "string",
              "object"
            ],
            "title": "a header",
            "format": "header",
            "required": [
              "secret"
            ],
            "properties": {
              "prefix": {
                "type": "string",
                "pattern": "^[^{}\\r\\n]{0,100}$",
                "description": "Such as \"Bearer \"."
              },
              "secret": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_.-]{1,100}$",
                "description": "Its name in your secrets.",
                "errorMessage": "secret must be the name of a secret"
              }
            }
          }
        },
        "secret_name": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "Signs with this secret of yours. Default: your signing secret."
        }
      }
    }
  }
] as const;

export const settingSchemas = {
  "retry": {
    "description": "workflow_steps.retry: how often a step is tried, in place of the engine's settings.",
    "config_schema": {
      "type": "object",
      "title": "retry",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "delay": "5 minutes",
          "max_delay": "1 hour",
          "max_attempts": 3
        }
      ],
      "properties": {
        "delay": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "Before the second attempt; it doubles with every attempt."
        },
        "max_delay": {
          "type": [
            "string",
            "object"
          ],
          "format": "length-of-time",
          "description": "The longest there is between two attempts."
        },
        "max_attempts": {
          "type": "integer",
          "maximum": 100,
          "minimum": 1,
          "description": "At most so often."
        }
      }
    }
  },
  "settings": {
    "description": "workflows.settings: who may enter again, and what ends a run early.",
    "config_schema": {
      "type": "object",
      "title": "settings",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "examples": [
        {
          "reentry": {
            "once_in": "30 days"
          },
          "exit_events": [
            "sms_received",
            {
              "type": "stage_changed",
              "config": {
                "to": [
                  "won",
                  "lost"
                ]
              }
            }
          ]
        }
      ],
      "properties": {
        "reentry": {
          "anyOf": [
            {
              "enum": [
                "always",
                "never",
                "not_while_open",
                "restart"
              ],
              "type": "string"
            },
            {
              "type": "object",
              "title": "reentry",
              "required": [
                "once_in"
              ],
              "properties": {
                "once_in": {
                  "type": [
                    "string",
                    "object"
                  ],
                  "format": "length-of-time",
                  "description": "So long after it last entered."
                }
              }
            }
          ],
          "description": "May a record enter again? restart: in its run's place. Default: always; by a dedupe_key never."
        },
        "dedupe_key": {
          "type": "string",
          "format": "template",
          "minLength": 1,
          "description": "What enters again, in place of the record: reentry is asked for each rendered key."
        },
        "on_missing": {
          "enum": [
            "empty",
            "fail"
          ],
          "description": "What a variable without a value does: renders as nothing, or fails its step. Default: empty."
        },
        "exit_events": {
          "type": "array",
          "items": {
            "type": [
              "string",
              "object"
            ],
            "title": "event",
            "required": [
              "type"
            ],
            "properties": {
              "type": {
                "type": "string",
                "description": "A trigger type that a write fires."
              },
              "config": {
                "type": "object",
                "description": "As in trigger_config.",
                "additionalProperties": true
              }
            }
          },
          "maxItems": 20,
          "description": "A run ends before its next step when one of these happens."
        },
        "exit_conditions": {
          "format": "conditions",
          "description": "A run ends before its next step as soon as these hold."
        }
      }
    }
  }
} as const;
