// Calls over REST. A refusal is an error with a stable code.

/** The server said no, and why. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** There was no answer. */
export class Unreachable extends Error {
  constructor() {
    super('The server can’t be reached. Check the connection and try again.');
  }
}

interface Problem {
  code?: string;
  detail?: string;
  errors?: { field: string; detail: string }[];
}

/** Calls `method` on `path` and returns what it answers. */
export async function call<T>(method: string, path: string, body?: unknown, token?: string): Promise<T> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Unreachable();
  }
  if (response.status === 204) return undefined as T;
  const answer: unknown = await response.json().catch(() => ({}));
  if (response.ok) return answer as T;
  const { code = 'internal', detail = response.statusText, errors = [] } = answer as Problem;
  const fields = errors.map((error) => `${error.field}: ${error.detail}`).join('. ');
  throw new Refused(response.status, code, sentence(fields || detail));
}

/** What went wrong, for a person. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return 'Something went wrong.';
  return sentence(hubError(error)?.detail ?? error.message);
}

/** The code and the detail of a hub call that the server refused; `undefined` for one that it didn't answer. */
export function hubError(error: unknown): { code: string; detail: string } | undefined {
  const [, code, detail] = (error instanceof Error && /^([a-z_]+): (.+)$/s.exec(error.message)) || [];
  return code && detail ? { code, detail } : undefined;
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}
