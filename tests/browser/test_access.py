"""Getting in: links with a code, tokens, roles, tokens that end; and a path of a reverse proxy."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import Page, Route, expect

from browser.accessibility import find_violations
from browser.conftest import FAR_NAME, Visits
from browser.serving import Barn


async def ask(page: Page, question: str) -> None:
    """Ask the first model, once it is known."""
    await page.get_by_label("Your question").fill(question)
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()
    await page.get_by_label("Your question").press("Enter")


async def test_a_link_lets_one_browser_in_and_its_code_is_gone(guarded: Barn, visits: Visits) -> None:
    link = (await guarded.post("/corral/v1/session/link"))["link"]
    path = link.removeprefix(f"{guarded.url}/")
    page = await visits.open(guarded.url, path)
    await expect(page.get_by_text("local (admin)")).to_be_visible()
    assert "code" not in page.url
    cookies = await page.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
    assert await page.evaluate("document.cookie") == ""

    second = await visits.open(guarded.url, path)
    await expect(second.get_by_role("alert")).to_contain_text("unknown, used or too old")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in to Corral")).to_be_visible()


async def test_roles_hide_what_is_not_allowed(guarded: Barn, visits: Visits) -> None:
    await guarded.submit(14, 60, "kept")
    viewer = await visits.log_in(guarded, await guarded.make_token("eye", role="viewer"))
    await expect(viewer.get_by_role("row").filter(has_text="kept-14")).to_be_visible()
    await expect(viewer.get_by_role("button", name=re.compile("Cancel"))).to_have_count(0)
    await expect(viewer.get_by_label(re.compile("Priority of"))).to_have_count(0)
    await expect(viewer.get_by_role("link", name="Submit")).to_have_count(0)
    await viewer.get_by_role("link", name="Cluster", exact=True).click()
    await expect(viewer.get_by_role("link", name="Power")).to_be_visible()
    await expect(viewer.get_by_role("link", name=re.compile("What if|Doctor"))).to_have_count(0)

    submitter = await visits.log_in(guarded, await guarded.make_token("ada", role="submitter"), "#/tasks")
    await expect(submitter.get_by_role("link", name="kept-14")).to_be_visible()
    await expect(submitter.get_by_role("button", name=re.compile("Cancel"))).to_have_count(0)
    await submitter.get_by_role("link", name="kept-14").click()
    await expect(submitter.get_by_role("button", name="Clone with changes")).to_be_visible()
    await expect(submitter.get_by_text("log of")).to_have_count(0)
    await guarded.cancel_all()


async def test_a_person_gets_in_by_an_invitation_and_is_used_up_counted_and_shut_out(
    guarded: Barn, visits: Visits
) -> None:
    admin = await visits.log_in(guarded, await guarded.make_token("keeper", role="admin"), "#/access")
    await admin.get_by_label("Name").fill("grace")
    await admin.get_by_label("Tokens a day").fill("5000")
    await admin.route("**/corral/v1/tokens", lambda route: route.abort())
    await admin.get_by_role("button", name="Make an invitation link").click()
    link = await admin.get_by_label("Secret: Invitation for grace").inner_text()
    await expect(admin.get_by_role("alert")).to_contain_text("cannot be reached")  # the secret is there nevertheless
    await admin.unroute("**/corral/v1/tokens")
    await admin.reload()
    await expect(admin.get_by_role("listitem").filter(has_text="grace (submitter)")).to_be_visible()
    assert await find_violations(admin) == []

    guest = await visits.open(guarded.url, link.removeprefix(f"{guarded.url}/"))
    await expect(guest.get_by_text("grace (submitter)")).to_be_visible()
    await expect(guest.get_by_role("link", name="Access")).to_have_count(0)
    second = await visits.open(guarded.url, link.removeprefix(f"{guarded.url}/"))
    await expect(second.get_by_role("alert")).to_contain_text("unknown, used or too old")
    await guest.route("**/parts/markdown.js", lambda route: route.abort())
    await guest.get_by_role("link", name="Chat").click()
    await ask(guest, "Who counts?")
    await expect(guest.locator(".answer").filter(has_text="tokens/s")).to_have_count(1)
    await expect(guest.locator(".said")).to_have_text("Who counts?")
    await expect(guest.get_by_role("alert")).to_contain_text("Reload the page")
    await guest.get_by_role("link", name="Usage").click()
    late = asyncio.Event()

    async def hold(route: Route) -> None:
        await late.wait()
        await route.continue_()

    await guest.route("**/usage?by=engine", hold)
    await guest.get_by_role("combobox", name="Summed up by").select_option("engine")
    await guest.get_by_role("combobox", name="Summed up by").select_option("key")
    await expect(guest.get_by_role("row").filter(has_text="grace")).to_contain_text("1")
    async with guest.expect_response("**/usage?by=engine") as answered:
        late.set()
    await (await answered.value).finished()
    await guest.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    await expect(guest.get_by_role("row").filter(has_text="grace")).to_contain_text("1")
    assert await find_violations(guest) == []

    await admin.reload()
    row = admin.locator("[data-token='grace']")
    await expect(row).to_contain_text("5000 tokens/day")
    await row.get_by_role("button", name="Revoke grace").click()
    await expect(row).to_contain_text("revoked")
    await guest.get_by_role("link", name="Tasks").click()
    await expect(guest.get_by_role("alert")).to_contain_text("Your session is over")


async def test_a_wrong_token_and_one_that_ends_lead_to_the_login(guarded: Barn, visits: Visits) -> None:
    page = await visits.log_in(guarded, "corral_wrong")
    await expect(page.get_by_role("alert")).to_contain_text("unknown, revoked or expired")
    ends = datetime.now(UTC) + timedelta(seconds=6)
    token = await guarded.make_token("brief", role="admin", expires_at=ends.isoformat())
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text("brief (admin)")).to_be_visible()
    await asyncio.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
    await page.get_by_role("link", name="Tasks").click()
    await expect(page.get_by_role("heading", name="Log in to Corral")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("Your session is over")


async def test_nothing_of_a_user_is_left_for_the_next_one_of_the_browser(guarded: Barn, visits: Visits) -> None:
    first, second = [await guarded.make_token(name, role="submitter") for name in ("early", "late")]
    page = await visits.log_in(guarded, first, "#/chat")
    await expect(page.get_by_text("early (submitter)")).to_be_visible()
    other = await visits.open_in(page.context, guarded.url, "#/submit")
    await other.get_by_label("Name", exact=True).fill("private")
    await ask(page, "Is this mine?")
    await expect(page.locator(".answer").filter(has_text="tokens/s")).to_have_count(1)
    await page.get_by_role("button", name="Log out").click()
    for tab in (page, other):
        await expect(tab.get_by_role("heading", name="Log in to Corral")).to_be_visible()

    await page.get_by_label("Token").fill(second)
    await page.get_by_role("button", name="Log in").click()
    await expect(other.get_by_text("late (submitter)")).to_be_visible()
    await other.get_by_role("link", name="Submit").click()
    await expect(other.get_by_label("Name", exact=True)).to_have_value("")
    await page.get_by_role("link", name="Chat").click()
    await expect(page.get_by_text("None is kept yet.")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(0)

    await ask(page, "And this?")
    await expect(page.get_by_role("link", name="And this?")).to_be_visible()
    await guarded.delete("/corral/v1/tokens/late")
    await page.get_by_role("link", name="Tasks").click()
    await expect(page.get_by_role("alert")).to_contain_text("Your session is over")
    await page.get_by_label("Token").fill(first)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("link", name="Chat").click()
    await expect(page.get_by_role("link", name="Is this mine?")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(0)


def find_free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@asynccontextmanager
async def keep_proxy(folder: Path, barn: Barn) -> AsyncIterator[str]:
    """Run nginx as the guide has it, and return the address of the path."""
    port = find_free_port()
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; pid {folder}/nginx.pid; error_log stderr;
        events {{}}
        http {{
          access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
          uwsgi_temp_path {folder}; scgi_temp_path {folder};
          server {{
            listen 127.0.0.1:{port};
            location /corral/ {{
              proxy_pass {barn.url}/;
              proxy_http_version 1.1;
              proxy_buffering off;
              proxy_set_header Host $host;
              proxy_set_header X-Forwarded-For $remote_addr;
            }}
          }}
        }}
        """
    )
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert nginx is not None, "install nginx: `sh tests/packages.sh`"
    process = await asyncio.create_subprocess_exec(nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"))
    try:
        yield f"http://{FAR_NAME}:{port}/corral"
    finally:
        process.terminate()
        await process.wait()


async def test_the_page_works_over_plain_http_from_elsewhere_below_a_path_of_a_reverse_proxy(
    guarded: Barn, visits: Visits, tmp_path: Path
) -> None:
    token = await guarded.make_token("far", role="admin")
    async with keep_proxy(tmp_path, guarded) as address:
        page = await visits.open(address)
        assert not await page.evaluate("isSecureContext")
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await guarded.submit(1, 0, "afar")
        await expect(page.get_by_text("4 events since this page was opened")).to_be_visible()
        await page.get_by_role("link", name="Tasks").click()
        await expect(page.get_by_role("link", name="afar-1").first).to_be_visible()
    # Chromium reports that it ignores this header of a page over plain HTTP, where it protects nothing.
    visits.problems = [problem for problem in visits.problems if "Cross-Origin-Opener-Policy" not in problem]
