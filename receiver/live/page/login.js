// login owns the view that asks for a token, and who is logged in.

import { api, onLogin } from "./net.js";
import { $, put, show } from "./dom.js";

export class Login {
  constructor() {
    this.who = null; // {name, role, login}; null: the server asks for nothing
    this.dialog = $("login");
    this.dialog.addEventListener("cancel", (e) => e.preventDefault()); // there is nothing behind it
    $("login-form").addEventListener("submit", (e) => {
      e.preventDefault();
      this.enter();
    });
    $("logout").addEventListener("click", () => this.leave());
    onLogin(() => this.ask());
  }

  ask() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    $("token").focus();
  }

  // read finds out who looks, and reports whether the page may go on.
  async read() {
    try {
      this.who = await api("me");
    } catch (e) {
      if (e.status === 401) return false;
      this.who = null;
    }
    put($("who"), this.who?.name ? `${this.who.name} · ${this.who.role}` : "");
    show($("logout"), Boolean(this.who?.login && this.who?.name));
    return true;
  }

  async enter() {
    put($("login-note"), "");
    try {
      await api("login", { method: "POST", body: { token: $("token").value.trim() } });
    } catch (e) {
      put($("login-note"), e.status === 401 ? "This token is not known, or no longer." : e.message);
      $("token").select();
      return;
    }
    location.reload(); // all that the address says is shown again
  }

  async leave() {
    await api("logout", { method: "POST" }).catch(() => null);
    location.reload();
  }
}
