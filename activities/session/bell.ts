/** Wakes everybody who waits for a change in this process. What changed, each looks up itself. */
export interface Bell {
  ring(): void;
  /** True when it rang, false after `ms`. */
  wait(ms: number): Promise<boolean>;
  /** The first answer of `look` that is not null; null after `ms`. */
  until<Answer>(look: () => Answer | null, ms: number): Promise<Answer | null>;
}

export function createBell(): Bell {
  let waiting = new Set<() => void>();

  function wait(ms: number): Promise<boolean> {
    return new Promise((done) => {
      const wake = () => {
        clearTimeout(timer);
        done(true);
      };
      const timer = setTimeout(() => {
        waiting.delete(wake);
        done(false);
      }, ms);
      waiting.add(wake);
    });
  }

  return {
    ring() {
      const woken = waiting;
      waiting = new Set();
      for (const wake of woken) wake();
    },
    wait,
    async until(look, ms) {
      const deadline = Date.now() + ms;
      for (;;) {
        const answer = look();
        if (answer !== null) return answer;
        const left = deadline - Date.now();
        if (left <= 0) return null;
        await wait(left);
      }
    },
  };
}
