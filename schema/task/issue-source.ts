/** Issues of a code host, in our words; `activities/forge` asks for them. */
export interface ForgeIssue {
  readonly number: number;
  readonly title: string;
  readonly body: string;
  readonly state: 'open' | 'closed';
  /** Why it is closed: `completed`, `not_planned`, `duplicate`; null when nobody said. */
  readonly state_reason: string | null;
  readonly labels: readonly string[];
  readonly author: string;
  readonly assignees: readonly string[];
  readonly milestone: string | null;
  readonly url: string;
  /** ISO 8601. */
  readonly created_at: string;
  readonly updated_at: string;
  readonly closed_at: string | null;
  /** Oldest first; empty unless they were asked for. */
  readonly comments: readonly ForgeComment[];
}
export interface ForgeComment {
  readonly id: string;
  readonly author: string;
  readonly body: string;
  readonly created_at: string;
}

export interface IssueQuery {
  /** `<owner>/<repository>` */
  readonly repository: string;
  readonly state: 'open' | 'closed' | 'all';
  /** All of them. */
  readonly labels: readonly string[];
  /** Changed at or after this moment; null: since ever. */
  readonly since: string | null;
  readonly comments: boolean;
}

export interface IssueSource {
  /**
   * Every issue that the query means, oldest first, without pull requests. Waits for a rate limit that ends soon. Asks with `token`; null:
   * with the source's own, if it has one.
   * @throws NOT_FOUND, UNAUTHORIZED, UNAVAILABLE with the time at which a rate limit ends, INPUT_TOO_LARGE
   */
  listIssues(query: IssueQuery, token: string | null): Promise<ForgeIssue[]>;
}
