// Generated from the database by scripts/types. Do not edit.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[];

export type Database = {
  public: {
    Tables: {
      appointments: {
        Row: {
          assigned_to: string | null;
          contact_id: string | null;
          created_at: string;
          custom_fields: Json;
          ends_at: string | null;
          id: string;
          location: string | null;
          name: string | null;
          project_id: string | null;
          starts_at: string | null;
          status: string;
          tenant_id: string;
          updated_at: string;
        };
        Insert: {
          assigned_to?: string | null;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          ends_at?: string | null;
          id?: string;
          location?: string | null;
          name?: string | null;
          project_id?: string | null;
          starts_at?: string | null;
          status?: string;
          tenant_id: string;
          updated_at?: string;
        };
        Update: {
          assigned_to?: string | null;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          ends_at?: string | null;
          id?: string;
          location?: string | null;
          name?: string | null;
          project_id?: string | null;
          starts_at?: string | null;
          status?: string;
          tenant_id?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "appointments_contact_fk";
            columns: ["tenant_id", "contact_id"];
            isOneToOne: false;
            referencedRelation: "contacts";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "appointments_project_fk";
            columns: ["tenant_id", "project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "appointments_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      contact_tags: {
        Row: {
          contact_id: string;
          created_at: string;
          tag_id: string;
          tenant_id: string;
        };
        Insert: {
          contact_id: string;
          created_at?: string;
          tag_id: string;
          tenant_id: string;
        };
        Update: {
          contact_id?: string;
          created_at?: string;
          tag_id?: string;
          tenant_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "contact_tags_contact_fk";
            columns: ["tenant_id", "contact_id"];
            isOneToOne: false;
            referencedRelation: "contacts";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "contact_tags_tag_fk";
            columns: ["tenant_id", "tag_id"];
            isOneToOne: false;
            referencedRelation: "tags";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      contacts: {
        Row: {
          address_line1: string | null;
          assigned_to: string | null;
          city: string | null;
          company: string | null;
          created_at: string;
          custom_fields: Json;
          email: string | null;
          first_name: string | null;
          id: string;
          last_contacted_at: string | null;
          last_name: string | null;
          lead_score: number | null;
          phone: string | null;
          postal_code: string | null;
          source: string | null;
          stage: string;
          state: string | null;
          tenant_id: string;
          timezone: string | null;
          type: string;
          updated_at: string;
        };
        Insert: {
          address_line1?: string | null;
          assigned_to?: string | null;
          city?: string | null;
          company?: string | null;
          created_at?: string;
          custom_fields?: Json;
          email?: string | null;
          first_name?: string | null;
          id?: string;
          last_contacted_at?: string | null;
          last_name?: string | null;
          lead_score?: number | null;
          phone?: string | null;
          postal_code?: string | null;
          source?: string | null;
          stage?: string;
          state?: string | null;
          tenant_id: string;
          timezone?: string | null;
          type?: string;
          updated_at?: string;
        };
        Update: {
          address_line1?: string | null;
          assigned_to?: string | null;
          city?: string | null;
          company?: string | null;
          created_at?: string;
          custom_fields?: Json;
          email?: string | null;
          first_name?: string | null;
          id?: string;
          last_contacted_at?: string | null;
          last_name?: string | null;
          lead_score?: number | null;
          phone?: string | null;
          postal_code?: string | null;
          source?: string | null;
          stage?: string;
          state?: string | null;
          tenant_id?: string;
          timezone?: string | null;
          type?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "contacts_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      invoices: {
        Row: {
          amount: number;
          balance: number;
          contact_id: string | null;
          created_at: string;
          custom_fields: Json;
          due_on: string | null;
          id: string;
          number: string | null;
          pay_url: string | null;
          project_id: string | null;
          status: string;
          tenant_id: string;
          updated_at: string;
        };
        Insert: {
          amount?: number;
          balance?: number;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          due_on?: string | null;
          id?: string;
          number?: string | null;
          pay_url?: string | null;
          project_id?: string | null;
          status?: string;
          tenant_id: string;
          updated_at?: string;
        };
        Update: {
          amount?: number;
          balance?: number;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          due_on?: string | null;
          id?: string;
          number?: string | null;
          pay_url?: string | null;
          project_id?: string | null;
          status?: string;
          tenant_id?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "invoices_contact_fk";
            columns: ["tenant_id", "contact_id"];
            isOneToOne: false;
            referencedRelation: "contacts";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "invoices_project_fk";
            columns: ["tenant_id", "project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "invoices_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      jobs: {
        Row: {
          assigned_to: string | null;
          completed_at: string | null;
          contact_id: string | null;
          created_at: string;
          custom_fields: Json;
          id: string;
          name: string | null;
          project_id: string | null;
          scheduled_at: string | null;
          status: string;
          tenant_id: string;
          updated_at: string;
        };
        Insert: {
          assigned_to?: string | null;
          completed_at?: string | null;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          id?: string;
          name?: string | null;
          project_id?: string | null;
          scheduled_at?: string | null;
          status?: string;
          tenant_id: string;
          updated_at?: string;
        };
        Update: {
          assigned_to?: string | null;
          completed_at?: string | null;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          id?: string;
          name?: string | null;
          project_id?: string | null;
          scheduled_at?: string | null;
          status?: string;
          tenant_id?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "jobs_contact_fk";
            columns: ["tenant_id", "contact_id"];
            isOneToOne: false;
            referencedRelation: "contacts";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "jobs_project_fk";
            columns: ["tenant_id", "project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "jobs_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      projects: {
        Row: {
          appointment_at: string | null;
          assigned_to: string | null;
          contact_id: string | null;
          created_at: string;
          custom_fields: Json;
          description: string | null;
          id: string;
          name: string | null;
          pipeline_stage: string;
          status: string;
          tenant_id: string;
          type: string | null;
          updated_at: string;
          value: number | null;
        };
        Insert: {
          appointment_at?: string | null;
          assigned_to?: string | null;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          description?: string | null;
          id?: string;
          name?: string | null;
          pipeline_stage?: string;
          status?: string;
          tenant_id: string;
          type?: string | null;
          updated_at?: string;
          value?: number | null;
        };
        Update: {
          appointment_at?: string | null;
          assigned_to?: string | null;
          contact_id?: string | null;
          created_at?: string;
          custom_fields?: Json;
          description?: string | null;
          id?: string;
          name?: string | null;
          pipeline_stage?: string;
          status?: string;
          tenant_id?: string;
          type?: string | null;
          updated_at?: string;
          value?: number | null;
        };
        Relationships: [
          {
            foreignKeyName: "projects_contact_fk";
            columns: ["tenant_id", "contact_id"];
            isOneToOne: false;
            referencedRelation: "contacts";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "projects_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      tags: {
        Row: {
          created_at: string;
          id: string;
          name: string;
          tenant_id: string;
        };
        Insert: {
          created_at?: string;
          id?: string;
          name: string;
          tenant_id: string;
        };
        Update: {
          created_at?: string;
          id?: string;
          name?: string;
          tenant_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "tags_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      tasks: {
        Row: {
          assigned_to: string | null;
          contact_id: string | null;
          created_at: string;
          description: string | null;
          due_at: string | null;
          execution_id: string | null;
          id: string;
          job_id: string | null;
          priority: string;
          project_id: string | null;
          status: string;
          tenant_id: string;
          title: string;
          updated_at: string;
        };
        Insert: {
          assigned_to?: string | null;
          contact_id?: string | null;
          created_at?: string;
          description?: string | null;
          due_at?: string | null;
          execution_id?: string | null;
          id?: string;
          job_id?: string | null;
          priority?: string;
          project_id?: string | null;
          status?: string;
          tenant_id: string;
          title: string;
          updated_at?: string;
        };
        Update: {
          assigned_to?: string | null;
          contact_id?: string | null;
          created_at?: string;
          description?: string | null;
          due_at?: string | null;
          execution_id?: string | null;
          id?: string;
          job_id?: string | null;
          priority?: string;
          project_id?: string | null;
          status?: string;
          tenant_id?: string;
          title?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "tasks_contact_fk";
            columns: ["tenant_id", "contact_id"];
            isOneToOne: false;
            referencedRelation: "contacts";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "tasks_job_fk";
            columns: ["tenant_id", "job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "tasks_project_fk";
            columns: ["tenant_id", "project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "tasks_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      tenant_invitations: {
        Row: {
          accepted_at: string | null;
          created_at: string;
          digest: string;
          email: string;
          expires_at: string;
          id: string;
          invited_by: string | null;
          role: string;
          tenant_id: string;
        };
        Insert: {
          accepted_at?: string | null;
          created_at?: string;
          digest: string;
          email: string;
          expires_at: string;
          id?: string;
          invited_by?: string | null;
          role?: string;
          tenant_id: string;
        };
        Update: {
          accepted_at?: string | null;
          created_at?: string;
          digest?: string;
          email?: string;
          expires_at?: string;
          id?: string;
          invited_by?: string | null;
          role?: string;
          tenant_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "tenant_invitations_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      tenant_members: {
        Row: {
          created_at: string;
          email: string | null;
          full_name: string | null;
          phone: string | null;
          role: string;
          tenant_id: string;
          user_id: string;
        };
        Insert: {
          created_at?: string;
          email?: string | null;
          full_name?: string | null;
          phone?: string | null;
          role?: string;
          tenant_id: string;
          user_id: string;
        };
        Update: {
          created_at?: string;
          email?: string | null;
          full_name?: string | null;
          phone?: string | null;
          role?: string;
          tenant_id?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "tenant_members_tenant_fk";
            columns: ["tenant_id"];
            isOneToOne: false;
            referencedRelation: "tenants";
            referencedColumns: ["id"];
          },
        ];
      };
      tenants: {
        Row: {
          address: string | null;
          country: string;
          created_at: string;
          email: string | null;
          id: string;
          name: string;
          phone: string | null;
          settings: Json;
          text_countries: string[];
          text_strangers: boolean;
          timezone: string;
          updated_at: string;
          website: string | null;
        };
        Insert: {
          address?: string | null;
          country?: string;
          created_at?: string;
          email?: string | null;
          id?: string;
          name: string;
          phone?: string | null;
          settings?: Json;
          text_countries?: string[];
          text_strangers?: boolean;
          timezone?: string;
          updated_at?: string;
          website?: string | null;
        };
        Update: {
          address?: string | null;
          country?: string;
          created_at?: string;
          email?: string | null;
          id?: string;
          name?: string;
          phone?: string | null;
          settings?: Json;
          text_countries?: string[];
          text_strangers?: boolean;
          timezone?: string;
          updated_at?: string;
          website?: string | null;
        };
        Relationships: [];
      };
    };
    Views: Record<never, never>;
    Functions: {
      accept_invitation: {
        Args: {
          token: string;
        };
        Returns: Database["public"]["Tables"]["tenant_members"]["Row"];
        SetofOptions: {
          from: "*";
          to: "tenant_members";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      invite_member: {
        Args: {
          email: string;
          role?: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
    };
    Enums: Record<never, never>;
    CompositeTypes: Record<never, never>;
  };
  ridgeline: {
    Tables: {
      bulk_enrollments: {
        Row: {
          changed_at: string;
          conditions: Json | null;
          created_at: string;
          created_by: string | null;
          data: Json;
          enrolled: number;
          entity: string;
          error: Json | null;
          failed: number;
          finished_at: string | null;
          generation: string | null;
          id: string;
          kind: string;
          last_record_id: string | null;
          next_batch_at: string;
          per_minute: number | null;
          record_ids: string[] | null;
          scanned: number;
          skipped: number;
          status: string;
          tenant_id: string;
          total: number | null;
          workflow_id: string;
        };
        Insert: {
          changed_at?: string;
          conditions?: Json | null;
          created_at?: string;
          created_by?: string | null;
          data?: Json;
          enrolled?: number;
          entity: string;
          error?: Json | null;
          failed?: number;
          finished_at?: string | null;
          generation?: string | null;
          id?: string;
          kind: string;
          last_record_id?: string | null;
          next_batch_at?: string;
          per_minute?: number | null;
          record_ids?: string[] | null;
          scanned?: number;
          skipped?: number;
          status?: string;
          tenant_id: string;
          total?: number | null;
          workflow_id: string;
        };
        Update: {
          changed_at?: string;
          conditions?: Json | null;
          created_at?: string;
          created_by?: string | null;
          data?: Json;
          enrolled?: number;
          entity?: string;
          error?: Json | null;
          failed?: number;
          finished_at?: string | null;
          generation?: string | null;
          id?: string;
          kind?: string;
          last_record_id?: string | null;
          next_batch_at?: string;
          per_minute?: number | null;
          record_ids?: string[] | null;
          scanned?: number;
          skipped?: number;
          status?: string;
          tenant_id?: string;
          total?: number | null;
          workflow_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "bulk_enrollments_workflow_fk";
            columns: ["tenant_id", "workflow_id"];
            isOneToOne: false;
            referencedRelation: "workflows";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      calls: {
        Row: {
          contact_id: string | null;
          created_at: string;
          direction: string;
          duration_seconds: number | null;
          from_number: string | null;
          id: string;
          provider: string;
          provider_id: string | null;
          status: string;
          tenant_id: string;
          to_number: string | null;
          updated_at: string;
        };
        Insert: {
          contact_id?: string | null;
          created_at?: string;
          direction?: string;
          duration_seconds?: number | null;
          from_number?: string | null;
          id?: string;
          provider?: string;
          provider_id?: string | null;
          status: string;
          tenant_id: string;
          to_number?: string | null;
          updated_at?: string;
        };
        Update: {
          contact_id?: string | null;
          created_at?: string;
          direction?: string;
          duration_seconds?: number | null;
          from_number?: string | null;
          id?: string;
          provider?: string;
          provider_id?: string | null;
          status?: string;
          tenant_id?: string;
          to_number?: string | null;
          updated_at?: string;
        };
        Relationships: [];
      };
      changes: {
        Row: {
          after: Json | null;
          before: Json | null;
          changed_at: string;
          id: string;
          operation: string;
          record_id: string;
          relation: string;
          source: Json;
          tenant_id: string;
          user_id: string | null;
          workflow_id: string | null;
        };
        Insert: {
          after?: Json | null;
          before?: Json | null;
          changed_at?: string;
          id?: string;
          operation: string;
          record_id: string;
          relation: string;
          source?: Json;
          tenant_id: string;
          user_id?: string | null;
          workflow_id?: string | null;
        };
        Update: {
          after?: Json | null;
          before?: Json | null;
          changed_at?: string;
          id?: string;
          operation?: string;
          record_id?: string;
          relation?: string;
          source?: Json;
          tenant_id?: string;
          user_id?: string | null;
          workflow_id?: string | null;
        };
        Relationships: [];
      };
      consents: {
        Row: {
          address: string;
          channel: string;
          contact_id: string | null;
          created_at: string;
          evidence: Json;
          id: string;
          method: string;
          purpose: string;
          recorded_by: string | null;
          seq: number;
          status: string;
          tenant_id: string;
        };
        Insert: {
          address: string;
          channel: string;
          contact_id?: string | null;
          created_at?: string;
          evidence?: Json;
          id?: string;
          method: string;
          purpose?: string;
          recorded_by?: string | null;
          seq?: number;
          status: string;
          tenant_id: string;
        };
        Update: {
          address?: string;
          channel?: string;
          contact_id?: string | null;
          created_at?: string;
          evidence?: Json;
          id?: string;
          method?: string;
          purpose?: string;
          recorded_by?: string | null;
          seq?: number;
          status?: string;
          tenant_id?: string;
        };
        Relationships: [];
      };
      email_addresses: {
        Row: {
          address: string;
          created_at: string;
          id: string;
          label: string | null;
          tenant_id: string;
        };
        Insert: {
          address: string;
          created_at?: string;
          id?: string;
          label?: string | null;
          tenant_id: string;
        };
        Update: {
          address?: string;
          created_at?: string;
          id?: string;
          label?: string | null;
          tenant_id?: string;
        };
        Relationships: [];
      };
      email_events: {
        Row: {
          contact_id: string | null;
          created_at: string;
          detail: Json | null;
          email_id: string;
          id: string;
          is_machine: boolean;
          link: string | null;
          machine_reason: string | null;
          occurred_at: string;
          tenant_id: string;
          type: string;
          user_agent: string | null;
        };
        Insert: {
          contact_id?: string | null;
          created_at?: string;
          detail?: Json | null;
          email_id: string;
          id?: string;
          is_machine?: boolean;
          link?: string | null;
          machine_reason?: string | null;
          occurred_at: string;
          tenant_id: string;
          type: string;
          user_agent?: string | null;
        };
        Update: {
          contact_id?: string | null;
          created_at?: string;
          detail?: Json | null;
          email_id?: string;
          id?: string;
          is_machine?: boolean;
          link?: string | null;
          machine_reason?: string | null;
          occurred_at?: string;
          tenant_id?: string;
          type?: string;
          user_agent?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "email_events_email_fk";
            columns: ["tenant_id", "email_id"];
            isOneToOne: false;
            referencedRelation: "emails";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      emails: {
        Row: {
          clicked_at: string | null;
          contact_id: string | null;
          created_at: string;
          delivered_at: string | null;
          direction: string;
          error_code: string | null;
          execution_id: string | null;
          from_address: string | null;
          html: string | null;
          id: string;
          is_automatic: boolean;
          opened_at: string | null;
          provider: string;
          provider_id: string | null;
          status: string;
          subject: string | null;
          tenant_id: string;
          text: string | null;
          to_address: string | null;
          updated_at: string;
        };
        Insert: {
          clicked_at?: string | null;
          contact_id?: string | null;
          created_at?: string;
          delivered_at?: string | null;
          direction?: string;
          error_code?: string | null;
          execution_id?: string | null;
          from_address?: string | null;
          html?: string | null;
          id?: string;
          is_automatic?: boolean;
          opened_at?: string | null;
          provider?: string;
          provider_id?: string | null;
          status?: string;
          subject?: string | null;
          tenant_id: string;
          text?: string | null;
          to_address?: string | null;
          updated_at?: string;
        };
        Update: {
          clicked_at?: string | null;
          contact_id?: string | null;
          created_at?: string;
          delivered_at?: string | null;
          direction?: string;
          error_code?: string | null;
          execution_id?: string | null;
          from_address?: string | null;
          html?: string | null;
          id?: string;
          is_automatic?: boolean;
          opened_at?: string | null;
          provider?: string;
          provider_id?: string | null;
          status?: string;
          subject?: string | null;
          tenant_id?: string;
          text?: string | null;
          to_address?: string | null;
          updated_at?: string;
        };
        Relationships: [];
      };
      erasures: {
        Row: {
          changed_at: string;
          digest: string;
          erased: Json;
          finished_at: string | null;
          id: string;
          requested_at: string;
          requested_by: string | null;
          status: string;
          tenant_id: string;
        };
        Insert: {
          changed_at?: string;
          digest: string;
          erased?: Json;
          finished_at?: string | null;
          id?: string;
          requested_at?: string;
          requested_by?: string | null;
          status?: string;
          tenant_id: string;
        };
        Update: {
          changed_at?: string;
          digest?: string;
          erased?: Json;
          finished_at?: string | null;
          id?: string;
          requested_at?: string;
          requested_by?: string | null;
          status?: string;
          tenant_id?: string;
        };
        Relationships: [];
      };
      form_submissions: {
        Row: {
          contact_id: string | null;
          created_at: string;
          data: Json;
          email: string | null;
          form: string;
          id: string;
          is_contact_new: boolean;
          is_trusted: boolean;
          phone: string | null;
          tenant_id: string;
          understood: Json;
        };
        Insert: {
          contact_id?: string | null;
          created_at?: string;
          data?: Json;
          email?: string | null;
          form: string;
          id?: string;
          is_contact_new?: boolean;
          is_trusted?: boolean;
          phone?: string | null;
          tenant_id: string;
          understood?: Json;
        };
        Update: {
          contact_id?: string | null;
          created_at?: string;
          data?: Json;
          email?: string | null;
          form?: string;
          id?: string;
          is_contact_new?: boolean;
          is_trusted?: boolean;
          phone?: string | null;
          tenant_id?: string;
          understood?: Json;
        };
        Relationships: [];
      };
      forms: {
        Row: {
          allowed_origins: string[];
          consent: Json | null;
          created_at: string;
          duplicate_window: string;
          field_map: Json;
          honeypot: string;
          id: string;
          is_active: boolean;
          max_fired_per_hour: number;
          max_per_address_per_hour: number;
          max_per_hour: number;
          max_per_source_per_hour: number;
          name: string;
          public_key: string;
          redirect_url: string | null;
          required_fields: string[];
          tenant_id: string;
          trusted: boolean;
          updated_at: string;
        };
        Insert: {
          allowed_origins?: string[];
          consent?: Json | null;
          created_at?: string;
          duplicate_window?: string;
          field_map?: Json;
          honeypot?: string;
          id?: string;
          is_active?: boolean;
          max_fired_per_hour?: number;
          max_per_address_per_hour?: number;
          max_per_hour?: number;
          max_per_source_per_hour?: number;
          name: string;
          public_key?: string;
          redirect_url?: string | null;
          required_fields?: string[];
          tenant_id: string;
          trusted?: boolean;
          updated_at?: string;
        };
        Update: {
          allowed_origins?: string[];
          consent?: Json | null;
          created_at?: string;
          duplicate_window?: string;
          field_map?: Json;
          honeypot?: string;
          id?: string;
          is_active?: boolean;
          max_fired_per_hour?: number;
          max_per_address_per_hour?: number;
          max_per_hour?: number;
          max_per_source_per_hour?: number;
          name?: string;
          public_key?: string;
          redirect_url?: string | null;
          required_fields?: string[];
          tenant_id?: string;
          trusted?: boolean;
          updated_at?: string;
        };
        Relationships: [];
      };
      held_submissions: {
        Row: {
          changed_at: string;
          created_at: string;
          data: Json;
          form: string;
          form_id: string;
          id: string;
          problem: string;
          raw: string | null;
          reason: string;
          released_at: string | null;
          submission_id: string | null;
          tenant_id: string;
        };
        Insert: {
          changed_at?: string;
          created_at?: string;
          data?: Json;
          form: string;
          form_id: string;
          id?: string;
          problem: string;
          raw?: string | null;
          reason: string;
          released_at?: string | null;
          submission_id?: string | null;
          tenant_id: string;
        };
        Update: {
          changed_at?: string;
          created_at?: string;
          data?: Json;
          form?: string;
          form_id?: string;
          id?: string;
          problem?: string;
          raw?: string | null;
          reason?: string;
          released_at?: string | null;
          submission_id?: string | null;
          tenant_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "held_submissions_form_fk";
            columns: ["tenant_id", "form_id"];
            isOneToOne: false;
            referencedRelation: "forms";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      legacy_discrepancies: {
        Row: {
          at: string;
          contact_id: string | null;
          execution_id: string | null;
          id: string;
          kind: string;
          legacy_id: string | null;
          old: Json | null;
          pair_id: string;
          record_id: string | null;
          shadow: Json | null;
          step_key: string | null;
          step_type: string | null;
          tenant_id: string;
          workflow_id: string;
        };
        Insert: {
          at: string;
          contact_id?: string | null;
          execution_id?: string | null;
          id?: string;
          kind: string;
          legacy_id?: string | null;
          old?: Json | null;
          pair_id: string;
          record_id?: string | null;
          shadow?: Json | null;
          step_key?: string | null;
          step_type?: string | null;
          tenant_id: string;
          workflow_id: string;
        };
        Update: {
          at?: string;
          contact_id?: string | null;
          execution_id?: string | null;
          id?: string;
          kind?: string;
          legacy_id?: string | null;
          old?: Json | null;
          pair_id?: string;
          record_id?: string | null;
          shadow?: Json | null;
          step_key?: string | null;
          step_type?: string | null;
          tenant_id?: string;
          workflow_id?: string;
        };
        Relationships: [];
      };
      messages: {
        Row: {
          body: string | null;
          channel: string;
          clicked_at: string | null;
          contact_id: string | null;
          created_at: string;
          direction: string;
          error_code: string | null;
          execution_id: string | null;
          from_number: string | null;
          id: string;
          is_tapback: boolean;
          keyword: string | null;
          media_urls: string[] | null;
          opt_out_type: string | null;
          provider: string;
          provider_id: string | null;
          status: string;
          step_key: string | null;
          tenant_id: string;
          to_number: string | null;
          updated_at: string;
        };
        Insert: {
          body?: string | null;
          channel?: string;
          clicked_at?: string | null;
          contact_id?: string | null;
          created_at?: string;
          direction: string;
          error_code?: string | null;
          execution_id?: string | null;
          from_number?: string | null;
          id?: string;
          is_tapback?: boolean;
          keyword?: string | null;
          media_urls?: string[] | null;
          opt_out_type?: string | null;
          provider?: string;
          provider_id?: string | null;
          status?: string;
          step_key?: string | null;
          tenant_id: string;
          to_number?: string | null;
          updated_at?: string;
        };
        Update: {
          body?: string | null;
          channel?: string;
          clicked_at?: string | null;
          contact_id?: string | null;
          created_at?: string;
          direction?: string;
          error_code?: string | null;
          execution_id?: string | null;
          from_number?: string | null;
          id?: string;
          is_tapback?: boolean;
          keyword?: string | null;
          media_urls?: string[] | null;
          opt_out_type?: string | null;
          provider?: string;
          provider_id?: string | null;
          status?: string;
          step_key?: string | null;
          tenant_id?: string;
          to_number?: string | null;
          updated_at?: string;
        };
        Relationships: [];
      };
      scheduled_steps: {
        Row: {
          attempt: number;
          attempt_token: string | null;
          execution_id: string;
          expires_at: string | null;
          held: Json | null;
          id: string;
          lane: Database["ridgeline"]["Enums"]["automation_lane"];
          lease_expires_at: string | null;
          leased_at: string | null;
          leased_by: string | null;
          reconcile_since: string | null;
          run_at: string;
          step_key: string;
          tenant_id: string;
        };
        Insert: {
          attempt?: number;
          attempt_token?: string | null;
          execution_id: string;
          expires_at?: string | null;
          held?: Json | null;
          id?: string;
          lane: Database["ridgeline"]["Enums"]["automation_lane"];
          lease_expires_at?: string | null;
          leased_at?: string | null;
          leased_by?: string | null;
          reconcile_since?: string | null;
          run_at: string;
          step_key: string;
          tenant_id: string;
        };
        Update: {
          attempt?: number;
          attempt_token?: string | null;
          execution_id?: string;
          expires_at?: string | null;
          held?: Json | null;
          id?: string;
          lane?: Database["ridgeline"]["Enums"]["automation_lane"];
          lease_expires_at?: string | null;
          leased_at?: string | null;
          leased_by?: string | null;
          reconcile_since?: string | null;
          run_at?: string;
          step_key?: string;
          tenant_id?: string;
        };
        Relationships: [];
      };
      senders: {
        Row: {
          address: string;
          channel: string;
          created_at: string;
          credentials: string | null;
          display_name: string | null;
          id: string;
          is_active: boolean;
          is_default: boolean;
          kind: string;
          label: string | null;
          limits: Json;
          provider: string;
          registration: string;
          tenant_id: string;
          updated_at: string;
          verified_at: string | null;
        };
        Insert: {
          address: string;
          channel: string;
          created_at?: string;
          credentials?: string | null;
          display_name?: string | null;
          id?: string;
          is_active?: boolean;
          is_default?: boolean;
          kind: string;
          label?: string | null;
          limits?: Json;
          provider: string;
          registration?: string;
          tenant_id: string;
          updated_at?: string;
          verified_at?: string | null;
        };
        Update: {
          address?: string;
          channel?: string;
          created_at?: string;
          credentials?: string | null;
          display_name?: string | null;
          id?: string;
          is_active?: boolean;
          is_default?: boolean;
          kind?: string;
          label?: string | null;
          limits?: Json;
          provider?: string;
          registration?: string;
          tenant_id?: string;
          updated_at?: string;
          verified_at?: string | null;
        };
        Relationships: [];
      };
      sending_pauses: {
        Row: {
          changed_at: string;
          paused_at: string;
          paused_by: string | null;
          reason: string;
          tenant_id: string;
        };
        Insert: {
          changed_at?: string;
          paused_at?: string;
          paused_by?: string | null;
          reason: string;
          tenant_id: string;
        };
        Update: {
          changed_at?: string;
          paused_at?: string;
          paused_by?: string | null;
          reason?: string;
          tenant_id?: string;
        };
        Relationships: [];
      };
      stage_changes: {
        Row: {
          changed_at: string;
          entity: string;
          record_id: string;
          root_id: string | null;
          stage: string | null;
          tenant_id: string;
          user_id: string | null;
          was: string | null;
        };
        Insert: {
          changed_at: string;
          entity: string;
          record_id: string;
          root_id?: string | null;
          stage?: string | null;
          tenant_id: string;
          user_id?: string | null;
          was?: string | null;
        };
        Update: {
          changed_at?: string;
          entity?: string;
          record_id?: string;
          root_id?: string | null;
          stage?: string | null;
          tenant_id?: string;
          user_id?: string | null;
          was?: string | null;
        };
        Relationships: [];
      };
      suppressions: {
        Row: {
          address: string;
          changed_at: string;
          channel: string;
          created_at: string;
          detail: Json | null;
          id: string;
          purpose: string;
          reason: string;
          tenant_id: string;
        };
        Insert: {
          address: string;
          changed_at?: string;
          channel: string;
          created_at?: string;
          detail?: Json | null;
          id?: string;
          purpose?: string;
          reason: string;
          tenant_id: string;
        };
        Update: {
          address?: string;
          changed_at?: string;
          channel?: string;
          created_at?: string;
          detail?: Json | null;
          id?: string;
          purpose?: string;
          reason?: string;
          tenant_id?: string;
        };
        Relationships: [];
      };
      tenant_erasures: {
        Row: {
          cause: string;
          changed_at: string;
          erased: Json;
          finished_at: string | null;
          id: string;
          requested_as: string | null;
          requested_at: string;
          requested_by: string | null;
          status: string;
          tenant_id: string;
        };
        Insert: {
          cause: string;
          changed_at?: string;
          erased?: Json;
          finished_at?: string | null;
          id?: string;
          requested_as?: string | null;
          requested_at?: string;
          requested_by?: string | null;
          status?: string;
          tenant_id: string;
        };
        Update: {
          cause?: string;
          changed_at?: string;
          erased?: Json;
          finished_at?: string | null;
          id?: string;
          requested_as?: string | null;
          requested_at?: string;
          requested_by?: string | null;
          status?: string;
          tenant_id?: string;
        };
        Relationships: [];
      };
      tenant_settings: {
        Row: {
          address: string | null;
          country: string | null;
          created_at: string;
          email: string | null;
          name: string | null;
          phone: string | null;
          settings: Json;
          tenant_id: string;
          text_countries: string[];
          text_strangers: boolean;
          timezone: string | null;
          unified_engine: string;
          updated_at: string;
          website: string | null;
        };
        Insert: {
          address?: string | null;
          country?: string | null;
          created_at?: string;
          email?: string | null;
          name?: string | null;
          phone?: string | null;
          settings?: Json;
          tenant_id: string;
          text_countries?: string[];
          text_strangers?: boolean;
          timezone?: string | null;
          unified_engine?: string;
          updated_at?: string;
          website?: string | null;
        };
        Update: {
          address?: string | null;
          country?: string | null;
          created_at?: string;
          email?: string | null;
          name?: string | null;
          phone?: string | null;
          settings?: Json;
          tenant_id?: string;
          text_countries?: string[];
          text_strangers?: boolean;
          timezone?: string | null;
          unified_engine?: string;
          updated_at?: string;
          website?: string | null;
        };
        Relationships: [];
      };
      workflow_executions: {
        Row: {
          changed_at: string;
          contact_id: string | null;
          created_at: string;
          current_step: string | null;
          depth: number;
          entity: string | null;
          error: Json | null;
          expires_at: string | null;
          finished_at: string | null;
          fused: boolean;
          id: string;
          mode: Database["ridgeline"]["Enums"]["execution_mode"];
          record_id: string | null;
          root_id: string | null;
          seen: string;
          seq: number;
          started_at: string | null;
          status: Database["ridgeline"]["Enums"]["automation_status"];
          tenant_id: string;
          trigger_data: Json;
          trigger_type: string;
          version: number;
          workflow_id: string;
          written_by: string;
        };
        Insert: {
          changed_at?: string;
          contact_id?: string | null;
          created_at?: string;
          current_step?: string | null;
          depth?: number;
          entity?: string | null;
          error?: Json | null;
          expires_at?: string | null;
          finished_at?: string | null;
          fused?: boolean;
          id?: string;
          mode?: Database["ridgeline"]["Enums"]["execution_mode"];
          record_id?: string | null;
          root_id?: string | null;
          seen?: string;
          seq?: number;
          started_at?: string | null;
          status?: Database["ridgeline"]["Enums"]["automation_status"];
          tenant_id: string;
          trigger_data?: Json;
          trigger_type: string;
          version: number;
          workflow_id: string;
          written_by?: string;
        };
        Update: {
          changed_at?: string;
          contact_id?: string | null;
          created_at?: string;
          current_step?: string | null;
          depth?: number;
          entity?: string | null;
          error?: Json | null;
          expires_at?: string | null;
          finished_at?: string | null;
          fused?: boolean;
          id?: string;
          mode?: Database["ridgeline"]["Enums"]["execution_mode"];
          record_id?: string | null;
          root_id?: string | null;
          seen?: string;
          seq?: number;
          started_at?: string | null;
          status?: Database["ridgeline"]["Enums"]["automation_status"];
          tenant_id?: string;
          trigger_data?: Json;
          trigger_type?: string;
          version?: number;
          workflow_id?: string;
          written_by?: string;
        };
        Relationships: [];
      };
      workflow_holds: {
        Row: {
          changed_at: string;
          held_at: string;
          reason: Json;
          released_at: string | null;
          released_by: string | null;
          tenant_id: string;
          workflow_id: string;
        };
        Insert: {
          changed_at?: string;
          held_at: string;
          reason: Json;
          released_at?: string | null;
          released_by?: string | null;
          tenant_id: string;
          workflow_id: string;
        };
        Update: {
          changed_at?: string;
          held_at?: string;
          reason?: Json;
          released_at?: string | null;
          released_by?: string | null;
          tenant_id?: string;
          workflow_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_holds_workflow_fk";
            columns: ["tenant_id", "workflow_id"];
            isOneToOne: true;
            referencedRelation: "workflows";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      workflow_schedules: {
        Row: {
          anchor_at: string;
          changed_at: string;
          conditions: Json | null;
          config: Json;
          cron: string | null;
          entity: string | null;
          error: Json | null;
          every: string | null;
          last_run_at: string | null;
          missed: string;
          next_run_at: string | null;
          tenant_id: string;
          version: number;
          workflow_id: string;
          zone: string | null;
        };
        Insert: {
          anchor_at?: string;
          changed_at?: string;
          conditions?: Json | null;
          config: Json;
          cron?: string | null;
          entity?: string | null;
          error?: Json | null;
          every?: string | null;
          last_run_at?: string | null;
          missed: string;
          next_run_at?: string | null;
          tenant_id: string;
          version: number;
          workflow_id: string;
          zone?: string | null;
        };
        Update: {
          anchor_at?: string;
          changed_at?: string;
          conditions?: Json | null;
          config?: Json;
          cron?: string | null;
          entity?: string | null;
          error?: Json | null;
          every?: string | null;
          last_run_at?: string | null;
          missed?: string;
          next_run_at?: string | null;
          tenant_id?: string;
          version?: number;
          workflow_id?: string;
          zone?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_schedules_version_fk";
            columns: ["tenant_id", "workflow_id", "version"];
            isOneToOne: false;
            referencedRelation: "workflow_versions";
            referencedColumns: ["tenant_id", "workflow_id", "version"];
          },
        ];
      };
      workflow_step_executions: {
        Row: {
          attempts: Json;
          changed_at: string;
          clicked_at: string | null;
          cost: number | null;
          country: string | null;
          delivered_at: string | null;
          duration_ms: number | null;
          error: Json | null;
          execution_id: string;
          finished_at: string | null;
          id: string;
          input: Json | null;
          opened_at: string | null;
          provider_id: string | null;
          recipient: string | null;
          render_again: boolean;
          rendition: number;
          replied_at: string | null;
          result_data: Json | null;
          seen: string;
          segments: number | null;
          seq: number;
          started_at: string;
          status: Database["ridgeline"]["Enums"]["automation_status"];
          step_key: string;
          step_type: string;
          tenant_id: string;
          warnings: Json | null;
          written_by: string;
        };
        Insert: {
          attempts?: Json;
          changed_at?: string;
          clicked_at?: string | null;
          cost?: number | null;
          country?: string | null;
          delivered_at?: string | null;
          duration_ms?: number | null;
          error?: Json | null;
          execution_id: string;
          finished_at?: string | null;
          id?: string;
          input?: Json | null;
          opened_at?: string | null;
          provider_id?: string | null;
          recipient?: string | null;
          render_again?: boolean;
          rendition?: number;
          replied_at?: string | null;
          result_data?: Json | null;
          seen?: string;
          segments?: number | null;
          seq?: number;
          started_at?: string;
          status: Database["ridgeline"]["Enums"]["automation_status"];
          step_key: string;
          step_type: string;
          tenant_id: string;
          warnings?: Json | null;
          written_by?: string;
        };
        Update: {
          attempts?: Json;
          changed_at?: string;
          clicked_at?: string | null;
          cost?: number | null;
          country?: string | null;
          delivered_at?: string | null;
          duration_ms?: number | null;
          error?: Json | null;
          execution_id?: string;
          finished_at?: string | null;
          id?: string;
          input?: Json | null;
          opened_at?: string | null;
          provider_id?: string | null;
          recipient?: string | null;
          render_again?: boolean;
          rendition?: number;
          replied_at?: string | null;
          result_data?: Json | null;
          seen?: string;
          segments?: number | null;
          seq?: number;
          started_at?: string;
          status?: Database["ridgeline"]["Enums"]["automation_status"];
          step_key?: string;
          step_type?: string;
          tenant_id?: string;
          warnings?: Json | null;
          written_by?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_step_executions_execution_fk";
            columns: ["tenant_id", "execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      workflow_steps: {
        Row: {
          branch: string | null;
          conditions: Json;
          continue_on_error: boolean;
          created_at: string;
          delay_minutes: number;
          enabled: boolean;
          id: string;
          name: string | null;
          parent_step_id: string | null;
          retry: Json;
          step_config: Json;
          step_key: string | null;
          step_order: number;
          step_type: string;
          tenant_id: string;
          updated_at: string;
          workflow_id: string;
        };
        Insert: {
          branch?: string | null;
          conditions?: Json;
          continue_on_error?: boolean;
          created_at?: string;
          delay_minutes?: number;
          enabled?: boolean;
          id?: string;
          name?: string | null;
          parent_step_id?: string | null;
          retry?: Json;
          step_config?: Json;
          step_key?: string | null;
          step_order?: number;
          step_type: string;
          tenant_id: string;
          updated_at?: string;
          workflow_id: string;
        };
        Update: {
          branch?: string | null;
          conditions?: Json;
          continue_on_error?: boolean;
          created_at?: string;
          delay_minutes?: number;
          enabled?: boolean;
          id?: string;
          name?: string | null;
          parent_step_id?: string | null;
          retry?: Json;
          step_config?: Json;
          step_key?: string | null;
          step_order?: number;
          step_type?: string;
          tenant_id?: string;
          updated_at?: string;
          workflow_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_steps_parent_fk";
            columns: ["tenant_id", "parent_step_id"];
            isOneToOne: false;
            referencedRelation: "workflow_steps";
            referencedColumns: ["tenant_id", "id"];
          },
          {
            foreignKeyName: "workflow_steps_workflow_fk";
            columns: ["tenant_id", "workflow_id"];
            isOneToOne: false;
            referencedRelation: "workflows";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      workflow_timers: {
        Row: {
          depth: number;
          due_at: string;
          generation: string;
          record_id: string;
          tenant_id: string;
          workflow_id: string;
        };
        Insert: {
          depth?: number;
          due_at: string;
          generation: string;
          record_id: string;
          tenant_id: string;
          workflow_id: string;
        };
        Update: {
          depth?: number;
          due_at?: string;
          generation?: string;
          record_id?: string;
          tenant_id?: string;
          workflow_id?: string;
        };
        Relationships: [];
      };
      workflow_versions: {
        Row: {
          author: string | null;
          conditions: Json | null;
          id: string;
          note: string | null;
          plan: Json;
          published_at: string;
          published_via: string;
          source: Json | null;
          tenant_id: string;
          trigger_config: Json;
          trigger_type: string;
          version: number;
          warnings: Json;
          workflow_id: string;
        };
        Insert: {
          author?: string | null;
          conditions?: Json | null;
          id?: string;
          note?: string | null;
          plan: Json;
          published_at?: string;
          published_via: string;
          source?: Json | null;
          tenant_id: string;
          trigger_config: Json;
          trigger_type: string;
          version: number;
          warnings?: Json;
          workflow_id: string;
        };
        Update: {
          author?: string | null;
          conditions?: Json | null;
          id?: string;
          note?: string | null;
          plan?: Json;
          published_at?: string;
          published_via?: string;
          source?: Json | null;
          tenant_id?: string;
          trigger_config?: Json;
          trigger_type?: string;
          version?: number;
          warnings?: Json;
          workflow_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_versions_workflow_fk";
            columns: ["tenant_id", "workflow_id"];
            isOneToOne: false;
            referencedRelation: "workflows";
            referencedColumns: ["tenant_id", "id"];
          },
        ];
      };
      workflows: {
        Row: {
          conditions: Json;
          created_at: string;
          description: string | null;
          id: string;
          is_active: boolean;
          metadata: Json;
          mode: Database["ridgeline"]["Enums"]["execution_mode"];
          name: string;
          published_version: number | null;
          settings: Json;
          status: string;
          tenant_id: string;
          trigger_config: Json;
          trigger_type: string;
          updated_at: string;
        };
        Insert: {
          conditions?: Json;
          created_at?: string;
          description?: string | null;
          id?: string;
          is_active?: boolean;
          metadata?: Json;
          mode?: Database["ridgeline"]["Enums"]["execution_mode"];
          name: string;
          published_version?: number | null;
          settings?: Json;
          status?: string;
          tenant_id: string;
          trigger_config?: Json;
          trigger_type: string;
          updated_at?: string;
        };
        Update: {
          conditions?: Json;
          created_at?: string;
          description?: string | null;
          id?: string;
          is_active?: boolean;
          metadata?: Json;
          mode?: Database["ridgeline"]["Enums"]["execution_mode"];
          name?: string;
          published_version?: number | null;
          settings?: Json;
          status?: string;
          tenant_id?: string;
          trigger_config?: Json;
          trigger_type?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflows_published_version_fk";
            columns: ["tenant_id", "id", "published_version"];
            isOneToOne: false;
            referencedRelation: "workflow_versions";
            referencedColumns: ["tenant_id", "workflow_id", "version"];
          },
        ];
      };
    };
    Views: {
      automation_failures: {
        Row: {
          code: string | null;
          contact_id: string | null;
          error: Json | null;
          execution_id: string | null;
          execution_status: Database["ridgeline"]["Enums"]["automation_status"] | null;
          finished_at: string | null;
          message: string | null;
          mode: Database["ridgeline"]["Enums"]["execution_mode"] | null;
          step_key: string | null;
          tenant_id: string | null;
          trigger_type: string | null;
          version: number | null;
          workflow_name: string | null;
        };
        Relationships: [];
      };
      automation_queue: {
        Row: {
          held_by: string | null;
          held_since: string | null;
          held_why: string | null;
          lane: Database["ridgeline"]["Enums"]["automation_lane"] | null;
          most_attempts: number | null;
          oldest_run_at: string | null;
          state: string | null;
          steps: number | null;
          tenant_id: string | null;
        };
        Relationships: [];
      };
      automation_skipped_sends: {
        Row: {
          code: string | null;
          contact_id: string | null;
          error: Json | null;
          execution_id: string | null;
          finished_at: string | null;
          is_failure: boolean | null;
          message: string | null;
          mode: Database["ridgeline"]["Enums"]["execution_mode"] | null;
          recipient: string | null;
          step_key: string | null;
          step_type: string | null;
          tenant_id: string | null;
          trigger_type: string | null;
          version: number | null;
          workflow_id: string | null;
          workflow_name: string | null;
        };
        Relationships: [];
      };
      legacy_discrepancies_by_kind: {
        Row: {
          discrepancies: number | null;
          first_at: string | null;
          kind: string | null;
          last_at: string | null;
          latest: Json | null;
          runs: number | null;
          step_key: string | null;
          step_type: string | null;
          tenant_id: string | null;
          workflow_id: string | null;
          workflow_name: string | null;
        };
        Relationships: [];
      };
      recipes: {
        Row: {
          description: string | null;
          name: string | null;
          needs: Json | null;
          questions: Json | null;
          recipe: Json | null;
          title: string | null;
        };
        Relationships: [];
      };
      workflow_schemas: {
        Row: {
          branches: string[] | null;
          config_schema: Json | null;
          description: string | null;
          kind: string | null;
          lane: Database["ridgeline"]["Enums"]["automation_lane"] | null;
          name: string | null;
        };
        Relationships: [];
      };
      workflow_statistics: {
        Row: {
          clicked: number | null;
          completed: number | null;
          cost: number | null;
          day: string | null;
          delivered: number | null;
          entered: number | null;
          exited: number | null;
          failed: number | null;
          mode: Database["ridgeline"]["Enums"]["execution_mode"] | null;
          opened: number | null;
          replied: number | null;
          sent: number | null;
          skipped: number | null;
          step_key: string | null;
          tenant_id: string | null;
          version: number | null;
          waiting: number | null;
          workflow_id: string | null;
        };
        Relationships: [];
      };
    };
    Functions: {
      answer_doubt: {
        Args: {
          phone: string;
          is_stop: boolean;
          tenant_id?: string;
        };
        Returns: number;
      };
      cancel_bulk_enrollment: {
        Args: {
          id: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["bulk_enrollments"]["Row"];
        SetofOptions: {
          from: "*";
          to: "bulk_enrollments";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      cancel_execution: {
        Args: {
          execution_id: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["workflow_executions"]["Row"];
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      compare_engines: {
        Args: {
          since?: string;
          until?: string;
          tolerance?: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      decide_consent: {
        Args: {
          policy: string;
          tenant_id?: string;
        };
        Returns: number;
      };
      delete_secret: {
        Args: {
          name: string;
          tenant_id?: string;
        };
        Returns: boolean;
      };
      engine_report: {
        Args: {
          tenant_id?: string;
        };
        Returns: Json;
      };
      engine_status: {
        Args: never;
        Returns: Json;
      };
      enroll_records: {
        Args: {
          workflow_id: string;
          record_ids?: string[];
          filter?: Json;
          entity?: string;
          per_minute?: number;
          data?: Json;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["bulk_enrollments"]["Row"];
        SetofOptions: {
          from: "*";
          to: "bulk_enrollments";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      erase_person: {
        Args: {
          contact_id?: string;
          phone?: string;
          email?: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["erasures"]["Row"];
        SetofOptions: {
          from: "*";
          to: "erasures";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      erase_tenant: {
        Args: {
          tenant_id: string;
        };
        Returns: Database["ridgeline"]["Tables"]["tenant_erasures"]["Row"];
        SetofOptions: {
          from: "*";
          to: "tenant_erasures";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      erasures_of: {
        Args: {
          contact_id?: string;
          phone?: string;
          email?: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["erasures"]["Row"][];
        SetofOptions: {
          from: "*";
          to: "erasures";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      execute_workflow: {
        Args: {
          workflow_id: string;
          trigger_data?: Json;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["workflow_executions"]["Row"];
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      explain_enrollment: {
        Args: {
          workflow_id: string;
          record: Json;
          tenant_id?: string;
        };
        Returns: Json;
      };
      export_workflow: {
        Args: {
          workflow_id: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      get_definition: {
        Args: {
          workflow_id: string;
          version?: number;
          tenant_id?: string;
        };
        Returns: Json;
      };
      get_execution_history: {
        Args: {
          workflow_id?: string;
          contact_id?: string;
          execution_id?: string;
          status?: string;
          before?: string;
          max_rows?: number;
          tenant_id?: string;
          record_id?: string;
          trigger_type?: string;
          since?: string;
          until?: string;
          mode?: string;
        };
        Returns: {
          id: string;
          tenant_id: string;
          workflow_id: string;
          workflow_name: string;
          version: number;
          status: string;
          trigger_type: string;
          entity: string;
          record_id: string;
          contact_id: string;
          current_step: string;
          created_at: string;
          started_at: string;
          finished_at: string;
          next_run_at: string;
          error: Json;
          trigger_data: Json;
          steps: Json;
          mode: string;
        }[];
      };
      get_person_history: {
        Args: {
          contact_id?: string;
          phone?: string;
          email?: string;
          since?: string;
          max_rows?: number;
          tenant_id?: string;
        };
        Returns: {
          at: string;
          what: string;
          workflow_name: string;
          step_key: string;
          says: string;
          why: Json;
          execution_id: string;
        }[];
      };
      grant_consent: {
        Args: {
          channel: string;
          address: string;
          wording: string;
          purpose?: string;
          method?: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["consents"]["Row"];
        SetofOptions: {
          from: "*";
          to: "consents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      has_unpublished_changes: {
        Args: {
          workflow: string;
        };
        Returns: boolean;
      };
      import_workflow: {
        Args: {
          document: Json;
          answers?: Json;
          tenant_id?: string;
        };
        Returns: Json;
      };
      install_recipe: {
        Args: {
          recipe: Json;
          answers?: Json;
          tenant_id?: string;
        };
        Returns: Json;
      };
      lift_revocation: {
        Args: {
          channel: string;
          address: string;
          reason: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["consents"]["Row"];
        SetofOptions: {
          from: "*";
          to: "consents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      list_secrets: {
        Args: {
          tenant_id?: string;
        };
        Returns: {
          name: string;
          created_at: string;
          updated_at: string;
        }[];
      };
      merge_contacts: {
        Args: {
          from_contact: string;
          into_contact: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      move_executions: {
        Args: {
          workflow_id: string;
          to_version?: number;
          execution_ids?: string[];
          tenant_id?: string;
        };
        Returns: Json;
      };
      pause_sending: {
        Args: {
          reason: string;
          tenant_id?: string;
        };
        Returns: undefined;
      };
      publish_workflow: {
        Args: {
          workflow_id: string;
          enroll_existing?: Json;
          tenant_id?: string;
          note?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["workflow_versions"]["Row"];
        SetofOptions: {
          from: "*";
          to: "workflow_versions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      record_revocation: {
        Args: {
          channel: string;
          address: string;
          note: string;
          purpose?: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["consents"]["Row"];
        SetofOptions: {
          from: "*";
          to: "consents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      release_submission: {
        Args: {
          held_id: string;
          data?: Json;
        };
        Returns: Database["ridgeline"]["Tables"]["form_submissions"]["Row"];
        SetofOptions: {
          from: "*";
          to: "form_submissions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      release_workflow: {
        Args: {
          workflow_id: string;
        };
        Returns: number;
      };
      resume_sending: {
        Args: {
          tenant_id?: string;
        };
        Returns: number;
      };
      retry_execution: {
        Args: {
          execution_id: string;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["workflow_executions"]["Row"];
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      retry_executions: {
        Args: {
          filter?: Json;
          per_minute?: number;
          tenant_id?: string;
        };
        Returns: Json;
      };
      rotate_webhook_secret: {
        Args: {
          tenant_id?: string;
        };
        Returns: string;
      };
      save_workflow: {
        Args: {
          definition: Json;
          base_revision?: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      scheduled_steps: {
        Args: never;
        Returns: Database["ridgeline"]["Tables"]["scheduled_steps"]["Row"][];
        SetofOptions: {
          from: "*";
          to: "scheduled_steps";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      set_engine: {
        Args: {
          engine: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      set_secret: {
        Args: {
          name: string;
          value: string;
          tenant_id?: string;
        };
        Returns: undefined;
      };
      set_workflow_mode: {
        Args: {
          workflow_id: string;
          mode: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      suppress_address: {
        Args: {
          channel: string;
          address: string;
          tenant_id?: string;
        };
        Returns: undefined;
      };
      tenant_of: {
        Args: {
          key: string;
        };
        Returns: string;
      };
      test_definition: {
        Args: {
          definition: Json;
          trigger_data?: Json;
          options?: Json;
          tenant_id?: string;
        };
        Returns: Json;
      };
      test_workflow: {
        Args: {
          workflow_id: string;
          trigger_data?: Json;
          options?: Json;
          tenant_id?: string;
        };
        Returns: Json;
      };
      trigger_workflows: {
        Args: {
          trigger_type: string;
          trigger_data?: Json;
          tenant_id?: string;
        };
        Returns: Database["ridgeline"]["Tables"]["workflow_executions"]["Row"][];
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      validate_definition: {
        Args: {
          definition: Json;
          tenant_id?: string;
        };
        Returns: Json;
      };
      validate_workflow: {
        Args: {
          workflow_id: string;
          tenant_id?: string;
        };
        Returns: Json;
      };
      workflow_executions: {
        Args: never;
        Returns: Database["ridgeline"]["Tables"]["workflow_executions"]["Row"][];
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: false;
          isSetofReturn: true;
        };
      }
      | {
        Args: never;
        Returns: Database["ridgeline"]["Tables"]["workflow_executions"]["Row"][];
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      workflow_versions: {
        Args: never;
        Returns: Database["ridgeline"]["Tables"]["workflow_versions"]["Row"][];
        SetofOptions: {
          from: "*";
          to: "workflow_versions";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
    };
    Enums: {
      automation_lane: "database" | "sms" | "email" | "webhook";
      automation_status: "pending" | "running" | "waiting" | "completed" | "failed" | "cancelled" | "skipped";
      execution_mode: "live" | "shadow" | "test" | "imported";
    };
    CompositeTypes: Record<never, never>;
  };
};
