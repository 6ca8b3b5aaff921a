"""Routes of an instance that are for administrators alone, and those that ComfyUI's page needs."""

from __future__ import annotations

import pytest

from corral.gateway.comfyui.permitted import is_for_administrators


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/manager/reboot"),
        ("HEAD", "/api/manager/reboot"),
        ("POST", "/v2/customnode/install/git_url"),
        ("GET", "/api/v2/snapshot/restore"),
        ("GET", "/v2/api/comfyui_manager/comfyui_versions"),
        ("GET", "/externalmodel/getlist"),
        ("GET", "/%6danager/reboot"),
        ("GET", "//Manager%2freboot"),
        ("POST", "/manager/upload"),
        ("GET", "/internal/folder_paths"),
        ("GET", "/api/assets"),
        ("POST", "/api/assets/upload"),
        ("DELETE", "/api/assets/5"),
        ("GET", "/api/tags"),
        ("POST", "/easyuse/cleangpu"),
        ("POST", "/upload/then/run"),
        ("POST", "/api/users"),
        ("PUT", "/settings/a"),
        ("PATCH", "/userdata/a"),
        ("POST", "/settings2"),
        ("POST", "/userdata/ComfyUI-Manager%2Fstartup-scripts%2Finstall-scripts.txt"),
        ("POST", "/userdata/a.txt/move/ComfyUI-Manager%252Fconfig.ini"),
        ("POST", "/api/userdata/x-upload%2F__manager%5Cconfig.ini"),
        ("GET", "/userdata/ComfyUI-Manager%2Fconfig.ini"),
    ],
)
def test_routes_that_change_an_instance_or_show_all_owners_are_for_administrators(method: str, path: str) -> None:
    assert is_for_administrators(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api"),
        ("GET", "/assets/index-1a2b.js"),
        ("GET", "/extensions/ComfyUI-Manager/js/snapshot.js"),
        ("GET", "/scripts/app.js"),
        ("GET", "/api/i18n"),
        ("GET", "/api/settings"),
        ("GET", "/api/v2/userdata"),
        ("GET", "/api/userdata/workflows%2Fmanager%2Fsnapshot.json"),
        ("GET", "/api/workflow_templates"),
        ("GET", "/templates/assets/one.webp"),
        ("POST", "/api/settings"),
        ("POST", "/settings/Comfy.Theme"),
        ("POST", "/api/userdata/workflows%2Fa.json"),
        ("POST", "/api/userdata/a.json/move/workflows%2Fb.json"),
        ("DELETE", "/userdata/a.json"),
        ("POST", "/api/vhs/uploadvideo"),
        ("POST", "/a_custom_node/upload/audio"),
        ("POST", "/upload_file"),
    ],
)
def test_page_reads_and_saves_for_every_key(method: str, path: str) -> None:
    assert not is_for_administrators(method, path)
