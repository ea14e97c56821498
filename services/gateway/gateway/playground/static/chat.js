// The conversation on the page: asks, shows what comes, and remembers. Composer, settings and gateway come from outside.
import { ApiError, ask } from "./api.js";
import { attachmentAt, messagesOf } from "./conversation.js";
import { TurnView } from "./turn_view.js";

export class Chat {
  // list: where turns go. gateway: { key, model() }. settings(): { system, temperature, maxTokens }.
  // on: { busy(isBusy), status(words), edit(turn), emptied(isEmpty) }.
  constructor(list, gateway, settings, on) {
    Object.assign(this, { list, gateway, settings, on });
    this.turns = [];
    this.views = new Map();
    this.running = null;
  }

  async send(words, attachments) {
    const turn = { words, attachments, answer: "" };
    this.views.get(this.turns.at(-1))?.settle();
    this.turns.push(turn);
    const view = new TurnView(turn);
    this.views.set(turn, view);
    this.list.append(view.node);
    this.on.emptied(false);
    view.node.scrollIntoView({ block: "end" });
    await this.answer(turn, view);
  }

  stop() {
    this.running?.abort();
  }

  clear() {
    this.stop();
    for (const turn of [...this.turns]) {
      turn.attachments.forEach((attachment) => attachment.dispose());
      this.remove(turn);
    }
    this.on.status("New chat");
  }

  async answer(turn, view) {
    const running = new AbortController();
    this.running = running;
    this.on.busy(true);
    this.on.status("Waiting for the answer");
    const outcome = { extras: {}, requestId: "" };
    const spoken = this.turns.filter((one) => one.answer || one === turn);
    const settings = this.settings();
    try {
      await this.stream(turn, view, outcome, await this.body(settings, spoken), running.signal);
      view.finish({ ...outcome, answer: turn.answer });
      this.on.status("Answer complete");
    } catch (error) {
      if (running.signal.aborted) this.leave(turn, view, outcome);
      else this.fail(turn, view, error, attachmentAt(error.param ?? "", settings.system, spoken));
    } finally {
      if (this.running === running) this.running = null;
      this.on.busy(this.running !== null);
    }
  }

  async body({ system, temperature, maxTokens }, spoken) {
    return {
      model: await this.gateway.model(),
      messages: await messagesOf(system, spoken),
      temperature,
      max_completion_tokens: maxTokens,
      stream: true,
      stream_options: { include_usage: true },
      include_receipt: true,
    };
  }

  async stream(turn, view, outcome, body, signal) {
    signal.throwIfAborted();
    const { requestId, chunks } = await ask(body, this.gateway.key, signal);
    outcome.requestId = requestId;
    for await (const chunk of chunks) {
      for (const choice of chunk.choices) {
        turn.answer += choice.delta.content ?? "";
        outcome.reason = choice.finish_reason ?? outcome.reason;
      }
      outcome.usage = chunk.usage ?? outcome.usage;
      outcome.extras = chunk.trichord ?? outcome.extras;
      if (turn.answer) view.grow(turn.answer);
    }
  }

  leave(turn, view, outcome) {
    view.finish({ ...outcome, reason: "stopped", answer: turn.answer });
    this.on.status("Stopped");
  }

  fail(turn, view, error, blamed) {
    const told = error instanceof ApiError ? error : new ApiError(error.message, { code: "in_the_page" });
    view.fail(told, blamed, {
      "Try again": () => {
        this.remove(turn);
        this.send(turn.words, turn.attachments);
      },
      Edit: () => {
        this.remove(turn);
        this.on.edit(turn);
      },
    });
    this.on.status(`Failed: ${told.message}`);
  }

  remove(turn) {
    this.views.get(turn).node.remove();
    this.views.delete(turn);
    this.turns.splice(this.turns.indexOf(turn), 1);
    this.on.emptied(this.turns.length === 0);
  }
}
