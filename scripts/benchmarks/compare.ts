// (c), (d), (f), (g), (h) and (i): contact to HTTP request to result, steps that need only the database, the two
// that the architecture asks for, steps of strangers, what a dispatcher costs, and a second opinion.
import { sleep } from "../lib/process.ts";
import type { Bench } from "./bench.ts";
import { alternate, median, milliseconds, quantile, ratio } from "./measure.ts";
import { type Aim, atLeast, atMost, microseconds, perSecond, type Row } from "./report.ts";
import { type Engine, type Job, rivals } from "./rivals.ts";

/** A rate: results a second from one burst. */
function rate(engine: Engine, job: Job, times: number, from: "insert" | "commit", steps: number) {
  return async () => {
    await engine.mark();
    await engine.burst(job, times);
    const finished = await engine.finished(from);
    if (finished.steps !== times * steps) {
      throw new Error(`${finished.steps} results of ${job}, not ${times * steps}`);
    }
    return finished.steps / finished.seconds;
  };
}

function paced(engine: Engine, { sizes }: Bench) {
  return async () => {
    await engine.mark();
    const times = Math.round(sizes.pacePerSecond * sizes.paceSeconds);
    const startedAt = performance.now();
    for (let n = 0; n < times; n++) {
      const wait = startedAt + n * 1000 / sizes.pacePerSecond - performance.now();
      if (wait > 0) await sleep(wait);
      await engine.insert("post");
    }
    const latencies = await engine.latencies();
    if (latencies.length !== times) throw new Error(`${latencies.length} results, not ${times}`);
    return latencies;
  };
}

export async function outbound(bench: Bench): Promise<Row[]> {
  const { ours, theirs } = await rivals(bench);
  const { burst, burstRounds, paceRounds, pacePerSecond } = bench.sizes;
  const rates = await alternate({
    ours: rate(ours, "post", burst, "insert", 1),
    theirs: rate(theirs, "post", burst, "insert", 1),
  }, burstRounds);
  const latencies = await alternate(
    { ours: paced(ours, bench), theirs: paced(theirs, bench) },
    paceRounds,
  );
  const latency = (name: string, share: number, most: number): Row => {
    const of = (rounds: number[][]) => rounds.map((round) => quantile(round, share));
    const [our, their] = [of(latencies.ours), of(latencies.theirs)];
    return {
      row: "c",
      what: `the same, ${pacePerSecond} a second: latency ${name}`,
      ours: microseconds(median(our)),
      against: `${microseconds(median(their))}, graphile-worker`,
      ratio: ratio(our, their),
      aim: atMost(most),
    };
  };
  return [
    {
      row: "c",
      what: `contact -> HTTP -> result, burst of ${burst.toLocaleString("en-US")}`,
      ours: perSecond(median(rates.ours)),
      against: `${perSecond(median(rates.theirs))}, graphile-worker`,
      ratio: ratio(rates.ours, rates.theirs),
      aim: atLeast(2),
    },
    latency("p50", 0.5, 1.2),
    latency("p99", 0.99, 1),
  ];
}

export async function databaseSteps(bench: Bench): Promise<Row[]> {
  const { ours, theirs } = await rivals(bench);
  const { steps, stepRounds } = bench.sizes;
  const fives = Math.ceil(steps / 5);
  const rates = await alternate({
    one: rate(ours, "create_task", steps, "commit", 1),
    oneByHand: rate(theirs, "create_task", steps, "commit", 1),
    five: rate(ours, "chain", fives, "commit", 5),
    chain: rate(theirs, "chain", fives, "commit", 5),
    fiveInOne: rate(theirs, "five", fives, "commit", 5),
  }, stepRounds);
  const row = (what: string, our: number[], their: number[], aim?: Aim): Row => ({
    row: "d",
    what,
    ours: perSecond(median(our), "steps"),
    against: `${perSecond(median(their))}, graphile-worker`,
    ratio: ratio(our, their),
    ...(aim ? { aim } : {}),
  });
  return [
    row("create_task, one step", rates.one, rates.oneByHand, atLeast(2.3)),
    row("five steps; by hand a job each", rates.five, rates.chain, atLeast(5)),
    row("five steps; by hand all in one job", rates.five, rates.fiveInOne, atLeast(1.5)),
  ];
}

const atOnce = (engine: Engine) => async () => {
  await engine.mark();
  await engine.burst("hundred", 1);
  const { seconds, steps } = await engine.finished("insert");
  if (steps !== 100) throw new Error(`${steps} results, not 100`);
  return seconds * 1000;
};

const later = (engine: Engine, times: number) => async () => {
  await engine.mark();
  const scheduled = await milliseconds(() => engine.burst("delayed", times));
  await engine.makeDue();
  const { seconds, steps } = await engine.finished("due");
  if (steps !== times) throw new Error(`${steps} results, not ${times}`);
  return { scheduled, ran: seconds * 1000 };
};

export async function documented(bench: Bench): Promise<Row[]> {
  const { ours, theirs, onTestClock } = await rivals(bench);
  const { documentRounds, delayedActions } = bench.sizes;
  const hundred = await alternate({ ours: atOnce(ours), theirs: atOnce(theirs) }, documentRounds);
  const clock = await onTestClock();
  const delayed = await alternate({
    ours: later(clock, delayedActions),
    theirs: later(theirs, delayedActions),
  }, documentRounds);
  const row = (what: string, our: number[], their: number[]): Row => ({
    row: "f",
    what,
    ours: microseconds(median(our)),
    against: `${microseconds(median(their))}, graphile-worker`,
    ratio: ratio(our, their),
  });
  const of = (rounds: { scheduled: number; ran: number }[], what: "scheduled" | "ran") =>
    rounds.map((round) => round[what]);
  const actions = `${delayedActions.toLocaleString("en-US")} delayed actions`;
  return [
    row("100 workflows triggered at once: all done", hundred.ours, hundred.theirs),
    row(`${actions}: scheduled`, of(delayed.ours, "scheduled"), of(delayed.theirs, "scheduled")),
    row(`${actions}: run once due`, of(delayed.ours, "ran"), of(delayed.theirs, "ran")),
  ];
}

/** Of every tenant a few: sets are made of steps that have nothing in common. */
export async function strangers(bench: Bench): Promise<Row[]> {
  const { ours, theirs } = await rivals(bench);
  const { strangers, strangerSteps, stepRounds, concurrency } = bench.sizes;
  bench.say(`  ${strangers} tenants ...`);
  for (const engine of [ours, theirs]) await engine.addStrangers(strangers);
  const total = strangers * strangerSteps;
  const all = (engine: Engine) => async () => {
    await engine.mark();
    await engine.burstOfStrangers(strangerSteps);
    const finished = await engine.finished("commit");
    if (finished.steps !== total) throw new Error(`${finished.steps} results, not ${total}`);
    return finished.steps / finished.seconds;
  };
  const rates = await alternate({ ours: all(ours), theirs: all(theirs) }, stepRounds);
  return [{
    row: "g",
    what: `create_task, ${strangerSteps} of each of ${strangers} tenants`,
    ours: perSecond(median(rates.ours), "steps"),
    against: `${perSecond(median(rates.theirs))}, graphile-worker, ${concurrency} at once`,
    ratio: ratio(rates.ours, rates.theirs),
    aim: atLeast(1.6),
  }];
}

/** The process that sends, with ten thousand waiting: its time on a processor and the most memory it had. */
export async function cost(bench: Bench): Promise<Row[]> {
  const { ours, theirs } = await rivals(bench);
  const { waiting, burstRounds } = bench.sizes;
  const send = (engine: Engine) => async () => {
    await engine.mark();
    const before = engine.usage();
    await engine.burst("post", waiting);
    const { steps } = await engine.finished("insert");
    if (steps !== waiting) throw new Error(`${steps} results, not ${waiting}`);
    const after = engine.usage();
    return { cpu: (after.cpuMs - before.cpuMs) / steps, memory: after.peakMb };
  };
  const used = await alternate({ ours: send(ours), theirs: send(theirs) }, burstRounds);
  const row = (what: string, of: "cpu" | "memory", limit: number, unit: string): Row => {
    const [our, their] = [used.ours.map((one) => one[of]), used.theirs.map((one) => one[of])];
    const say = (value: number) => `${value.toPrecision(3)} ${unit}`;
    return {
      row: "h",
      what,
      ours: say(median(our)),
      against: `${say(median(their))}, graphile-worker`,
      ratio: ratio(our, their),
      aim: { text: `under ${limit} ${unit}`, met: () => median(our) < limit },
    };
  };
  const many = waiting.toLocaleString("en-US");
  return [
    row("what a send costs the dispatcher's process, on a processor", "cpu", 0.5, "ms"),
    row(`its memory at most, ${many} waiting`, "memory", 128, "MB"),
  ];
}

export async function secondOpinion(bench: Bench): Promise<Row[]> {
  const { ours, onPgBoss } = await rivals(bench);
  const boss = await onPgBoss();
  const { steps, stepRounds } = bench.sizes;
  const rates = await alternate({
    ours: rate(ours, "create_task", steps, "commit", 1),
    boss: rate(boss, "create_task", steps, "commit", 1),
  }, stepRounds);
  return [{
    row: "i",
    what: "create_task, one step",
    ours: perSecond(median(rates.ours), "steps"),
    against: `${perSecond(median(rates.boss))}, pg-boss`,
    ratio: ratio(rates.ours, rates.boss),
  }];
}
