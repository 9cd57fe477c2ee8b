// An office whose CRM and whose dispatchers reach the database through a pooler of transactions.
import { expect, it } from "vitest";
import { connect as connectDispatcher } from "../../functions/_shared/runtime/database.ts";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { createQueue } from "../../functions/_shared/engine/queue.ts";
import { connect } from "../../scripts/lib/scratch.ts";
import { useSessions } from "../database/executions/support.ts";
import { recordingLog, sendersOf, sent } from "../functions/fakes.ts";
import { startPooler, withoutPooler } from "../support/pooler.ts";
import { waitFor } from "../support/standins.ts";

const sessions = useSessions();
const DISPATCHERS = 2;
const WRITERS = 6;
const LEADS = 40;

it.skipIf(withoutPooler)(
  "texts each lead once, with three sessions for six writers, two dispatchers and the tick",
  async () => {
    const { sql } = sessions;
    const url = await startPooler(sessions.database.url, 3);
    const { tenantId } = await sessions.office([
      { type: "create_task", config: { title: "Call {{contact.first_name}}" } },
      { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } },
      { type: "create_task", config: { title: "Did {{contact.first_name}} answer?" } },
    ]);
    const texts: string[] = [];
    const stopping = new AbortController();
    const dispatchers = Array.from({ length: DISPATCHERS }, (_, n) => {
      const database = connectDispatcher(url);
      return createDispatcher({
        queue: createQueue(database),
        senders: sendersOf((step) => {
          texts.push((step.payload as { body: string }).body);
          return Promise.resolve({ ...sent, result: { provider_id: `SM${step.step_id}` } });
        }),
        log: recordingLog().log,
        worker: `pooled-${n}`,
        pollMs: 20,
      }).run({ until: stopping.signal }).finally(() => database.end({ timeout: 1 }));
    });
    const write = async (writer: number) => {
      const crm = connect(url, { max: 1, prepare: false });
      for (let n = 0; n < LEADS; n++) {
        await crm.begin(async (transaction) => {
          await transaction`select set_config('role', 'service_role', true)`;
          await transaction`
            insert into public.contacts (tenant_id, first_name, phone)
            values (${tenantId}, ${`Lead ${writer}/${n}`}, ${`+1512555${
            1000 + writer * LEADS + n
          }`})`;
        });
      }
      await crm.end();
    };
    const office = connect(url, { max: 1, prepare: false });
    try {
      await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
      await waitFor("all runs to end", async () => {
        await office.unsafe("call automation.tick_for('300 milliseconds')").simple();
        const [{ ended }] = await sql<[{ ended: number }]>`
          select count(*)::int as ended from ridgeline.workflow_executions where status = 'completed'`;
        return ended === WRITERS * LEADS;
      }, { timeout: 60_000 });
    } finally {
      stopping.abort();
      await Promise.all(dispatchers);
      await office.end({ timeout: 1 });
    }
    const names = (said: (name: string) => string) =>
      Array.from(
        { length: WRITERS * LEADS },
        (_, n) => said(`Lead ${Math.floor(n / LEADS)}/${n % LEADS}`),
      ).sort();
    expect(texts.sort()).toEqual(names((name) => `Hi ${name}`));
    const tasks = await sql<{ title: string }[]>`select title from public.tasks`;
    expect(tasks.map(({ title }) => title).sort()).toEqual(
      [...names((name) => `Call ${name}`), ...names((name) => `Did ${name} answer?`)].sort(),
    );
    expect(
      await sql`select status from ridgeline.workflow_step_executions where status <> 'completed'`,
    )
      .toEqual([]);
  },
  90_000,
);
