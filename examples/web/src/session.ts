// Who is logged in: the tokens, kept in this browser and renewed before they run out.

import { call, Refused } from './api';
import type { Tokens, User } from './wire';

const KEY = 'chat.session';
/** A token with less left than this isn't used any more. */
const SPARE_MS = 30_000;

interface Stored {
  user: User;
  accessToken: string;
  refreshToken: string;
  expiresAt: number;
}

export class Session extends EventTarget {
  #stored: Stored;
  #renewal: Promise<string> | undefined;

  private constructor(stored: Stored) {
    super();
    this.#stored = stored;
  }

  /** The session that this browser has kept. */
  static restore(): Session | undefined {
    const stored = read();
    return stored && new Session(stored);
  }

  static async logIn(email: string, password: string): Promise<Session> {
    const device = navigator.userAgent.replace(/[^\x20-\x7e]/g, '').slice(0, 64) || 'browser';
    const tokens = await call<Tokens>('POST', '/v1/auth/login', { email, password, device });
    return new Session(write(tokens));
  }

  static async register(email: string, username: string, password: string): Promise<Session> {
    await call<User>('POST', '/v1/auth/register', { email, username, password });
    return Session.logIn(email, password);
  }

  get user(): User {
    return this.#stored.user;
  }

  /** When the access token runs out, in milliseconds since 1970. */
  get expiresAt(): number {
    return this.#stored.expiresAt;
  }

  /** A token that is good for a while. */
  async accessToken(): Promise<string> {
    if (this.#stored.expiresAt - Date.now() > SPARE_MS) return this.#stored.accessToken;
    return this.renew();
  }

  /** A new token. Another tab may have fetched one already. */
  renew(): Promise<string> {
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = undefined));
    return this.#renewal;
  }

  async #renew(): Promise<string> {
    const kept = read();
    if (kept?.user.id === this.user.id && kept.expiresAt > this.#stored.expiresAt) {
      this.#stored = kept;
      if (kept.expiresAt - Date.now() > SPARE_MS) return kept.accessToken;
    }
    try {
      const { refreshToken } = this.#stored;
      this.#stored = write(await call<Tokens>('POST', '/v1/auth/refresh', { refreshToken }));
      return this.#stored.accessToken;
    } catch (error) {
      if (error instanceof Refused && error.status === 401) this.end('Your session has ended. Log in again.');
      throw error;
    }
  }

  /** Calls with this session's token. */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    try {
      return await call<T>(method, path, body, await this.accessToken());
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== 'token_expired') throw error;
      return call<T>(method, path, body, await this.renew());
    }
  }

  async logOut(): Promise<void> {
    // The session ends here whether or not the server hears of it.
    await this.call('POST', '/v1/auth/logout').catch(() => undefined);
    this.end('');
  }

  /** Forgets the session, and says why. */
  end(reason: string): void {
    if (read()?.user.id === this.user.id) localStorage.removeItem(KEY);
    this.dispatchEvent(new CustomEvent('end', { detail: reason }));
  }
}

function read(): Stored | undefined {
  try {
    return (JSON.parse(localStorage.getItem(KEY) ?? 'null') as Stored | null) ?? undefined;
  } catch {
    return undefined;
  }
}

function write(tokens: Tokens): Stored {
  const { user, accessToken, refreshToken, expiresIn } = tokens;
  const stored = { user, accessToken, refreshToken, expiresAt: Date.now() + expiresIn * 1000 };
  localStorage.setItem(KEY, JSON.stringify(stored));
  return stored;
}
