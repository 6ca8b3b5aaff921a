"""The chat: models side by side through the server's own door, answers that cannot do anything, what is kept of it."""

from __future__ import annotations

import base64
import re
from typing import Any

from playwright.async_api import Page, expect

from browser.accessibility import find_violations
from browser.conftest import Visits
from browser.serving import Barn
from doubles.openai_server import OpenAiDouble

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DARK_PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
ELSEWHERE = "http://127.0.0.2:9"
HOSTILE = f"""# Hello

**bold** <script>globalThis.ran = "script"</script><img src=x onerror="globalThis.ran = 'image'">
<svg onload="globalThis.ran = 'svg'"><a xlink:href="javascript:alert(1)">x</a></svg>
<iframe src="{ELSEWHERE}/frame" srcdoc="<script>parent.ran = 'frame'</script>"></iframe>
<math><mtext><table><mglyph><style><img src=x onerror="globalThis.ran = 'mutation'"></style></mglyph></table></math>
<style>@import url({ELSEWHERE}/sheet.css); body {{ background: url({ELSEWHERE}/ground.png) }}</style>
<link rel="stylesheet" href="{ELSEWHERE}/linked.css"><meta http-equiv="refresh" content="0;url={ELSEWHERE}">
<base href="{ELSEWHERE}"><form action="{ELSEWHERE}"><input name="token"><button>Log in</button></form>
<video src="{ELSEWHERE}/film.mp4" autoplay></video><p id="console" style="position:fixed" class="head">moved</p>

[go](javascript:globalThis.ran='link') [data](data:text/html,<script>alert(1)</script>) [out]({ELSEWHERE}/page)
![cat]({ELSEWHERE}/cat.png) <img src="{ELSEWHERE}/dog.png" alt="dog" srcset="{ELSEWHERE}/dog2.png 2x">

| name | count |
| --- | --- |
| hens | 3 |

```python
print("<b>not bold</b>")
```
"""
REMAINS = ["script", "iframe", "svg", "math", "style", "link", "meta", "base", "form", "input", "video", "img"]


async def ask(page: Page, question: str) -> None:
    await page.get_by_label("Your question").fill(question)
    await page.get_by_label("Your question").press("Enter")


async def test_an_answer_is_shown_as_markdown_and_can_neither_run_nor_load_anything(
    guarded: Barn, visits: Visits, writer: OpenAiDouble
) -> None:
    writer.written["mean"] = HOSTILE
    page = await visits.log_in(guarded, await guarded.make_token("mia", role="submitter"), "#/chat", **DARK_PHONE)
    await page.get_by_role("combobox", name="Model").select_option("mean")
    await ask(page, "Hello?")
    said = page.locator(".said")
    await expect(said.get_by_role("heading", name="Hello")).to_be_visible()
    await expect(said.locator("strong")).to_have_text("bold")
    await expect(said.locator("td")).to_have_text(["hens", "3"])
    await expect(said.locator("pre code")).to_contain_text('print("<b>not bold</b>")')
    await expect(said).to_contain_text('<script>globalThis.ran = "script"</script>')
    await expect(said.get_by_role("link")).to_have_text(["out", "[picture: cat]"])

    await has_nothing_hostile(page)
    assert await find_violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    outside = await page.evaluate("fetch('v1/models').then((answer) => answer.status)")
    assert outside == 401  # the cookie alone, without the page's header, opens no door


async def has_nothing_hostile(page: Page) -> None:
    said = page.locator(".said")
    assert await said.locator(", ".join(REMAINS)).count() == 0
    assert (
        await said.locator("[style], [class]:not(.wide):not(.language-python), [id], [onerror], [onload]").count() == 0
    )
    addresses = await said.locator("a[href]").evaluate_all("(links) => links.map((link) => link.href)")
    assert [address for address in addresses if not address.startswith(ELSEWHERE)] == []
    assert await page.evaluate("globalThis.ran") is None


async def test_the_sanitizer_alone_leaves_nothing_that_runs_or_loads(guarded: Barn, visits: Visits) -> None:
    """Not even if the Markdown's own wall failed: it gets the hostile text as HTML."""
    page = await visits.log_in(guarded, await guarded.make_token("zoe", role="submitter"))
    await expect(page.get_by_text("zoe (submitter)")).to_be_visible()
    await page.evaluate(
        """async (markup) => {
          const main = document.querySelector("script[src]").src;
          const { sanitize } = await import(main.replace("main.js", "parts/markdown.js"));
          const place = document.createElement("div");
          place.className = "said";
          place.append(sanitize(markup));
          document.body.append(place);
        }""",
        f"<p><b>here</b></p>{HOSTILE}<a href='javascript:globalThis.ran=1'>a</a><a href=' java\tscript:ran=1'>b</a>",
    )
    await expect(page.locator(".said b").first).to_have_text("here")
    await has_nothing_hostile(page)
    # Chromium reports what the sanitizer's own document has as refused, where nothing can run or load anyhow.
    visits.problems = [problem for problem in visits.problems if "Content Security Policy" not in problem]


async def test_models_are_asked_side_by_side_and_say_where_they_run_and_why_they_wait(
    guarded: Barn, visits: Visits, writer: OpenAiDouble
) -> None:
    page = await visits.log_in(guarded, await guarded.make_token("chatter", role="submitter"), "#/chat")
    await page.get_by_role("button", name="Ask another model").click()
    await page.get_by_role("combobox", name="Model 1").select_option("echo")
    await page.get_by_role("combobox", name="Model 2").select_option("eye")
    await page.get_by_text("System prompt").click()
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_label("Attach pictures").set_input_files(
        {"name": "dot.png", "mimeType": "image/png", "buffer": DOT}
    )
    await expect(page.get_by_text("echo looks at no pictures")).to_have_count(0)  # it does not say what it can do
    writer.hold()
    await ask(page, "Is the dot red?")
    await expect(page.locator("[data-wait]")).to_have_count(1)
    await expect(page.locator("[data-wait]")).to_contain_text("the one slot that could run it is busy")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await writer.proceed()
    answers = page.locator(".answer")
    await expect(answers.filter(has_text="tokens/s")).to_have_count(2)
    await expect(answers.filter(has_text="on writer/openai")).to_have_count(2)
    assert await find_violations(page) == []
    asked = writer.bodies[-1]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    text, picture = asked["messages"][1]["content"]
    assert text == {"type": "text", "text": "Is the dot red?"}
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")

    await expect(page).to_have_url(re.compile(r"#/chat\?conversation=\d+$"))
    assert page.url.endswith(f"={await find_newest(guarded, page)}")
    await ask(page, "A second question")
    await expect(answers.filter(has_text="A second question")).to_have_count(2)
    assert [message["role"] for message in writer.bodies[-1]["messages"]] == ["system", "user", "assistant", "user"]
    await expect(page.locator(".turn[data-kept=true]")).to_have_count(2)
    await page.get_by_role("button", name="New conversation").click()
    writer.hold()
    await ask(page, "Left early")
    await expect(page.locator("[data-wait]")).to_have_count(1)
    await page.get_by_role("link", name="Is the dot red?").click()
    await expect(page.get_by_role("link", name="Left early")).to_be_visible()
    await writer.proceed()
    await page.get_by_role("button", name="Delete Left early").click()
    await expect(page.get_by_role("link", name="Left early")).to_have_count(0)
    await is_kept_for_its_owner(guarded, visits, page)


async def find_newest(barn: Barn, page: Page) -> int:
    """The newest conversation of the user of a page."""
    listed: Any = await page.evaluate(
        "fetch('corral/v1/conversations', {headers: {'X-Corral-Console': '1'}}).then((answer) => answer.json())"
    )
    return listed["items"][0]["id"]


async def is_kept_for_its_owner(barn: Barn, visits: Visits, page: Page) -> None:
    """A conversation comes back after a reload, is found by its words, is nobody else's, and can be deleted."""
    await expect(page.locator(".turn[data-kept=true]")).to_have_count(2)
    await page.reload()
    await expect(page.locator(".turn")).to_have_count(2)
    await expect(page.get_by_role("combobox", name="Model 2")).to_have_value("eye")
    await page.get_by_label("Search conversations").press_sequentially("second QUESTION")
    await expect(page.get_by_role("link", name="Is the dot red?")).to_be_visible()
    await page.get_by_label("Search conversations").fill("never said")
    await expect(page.get_by_text("No conversation has these words.")).to_be_visible()
    await page.get_by_label("Search conversations").fill("")

    other = await visits.log_in(barn, await barn.make_token("bob", role="admin"), page.url.removeprefix(f"{barn.url}/"))
    await expect(other.get_by_role("alert")).to_contain_text("there is no conversation")
    await expect(other.get_by_text("None is kept yet.")).to_be_visible()
    await page.get_by_role("button", name="Delete Is the dot red?").click()
    await expect(page.get_by_text("None is kept yet.")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(0)


async def test_a_conversation_that_is_kept_as_its_page_is_left_leads_nobody_back(guarded: Barn, visits: Visits) -> None:
    page = await visits.log_in(guarded, await guarded.make_token("leaver", role="submitter"), "#/chat")
    await page.evaluate(
        """() => {
          const leave = () => document.querySelector(".turn[data-kept='true']") && requestAnimationFrame(() => {
            location.hash = "#/usage";  // before the page has heard that its conversation has an address now
            watch.disconnect();
          });
          const watch = new MutationObserver(leave);
          watch.observe(document.body, {subtree: true, childList: true, attributes: true});
        }"""
    )
    await page.get_by_label("Your question").fill("Who is last?")
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()
    await page.get_by_label("Your question").press("Enter")
    await expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    await expect(page).to_have_url(re.compile("#/usage$"))
