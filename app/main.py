"""Builds the page and serves it, behind one guard, with our routes beside it."""

import os
import secrets
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")

import gradio as gr
from gradio.themes import Base
from starlette.middleware import Middleware

from app import conversation
from app.api import attention, models, runs
from app.components import task_page
from app.components.attention_view import script_tags
from app.components.preset_choice import known_presets
from app.guard import LOOPBACK, Credentials, Guard
from app.tabs import chat as chat_tab
from app.tabs import completion as completion_tab
from app.tabs import embeddings as embeddings_tab
from app.tabs import inspect as inspect_tab
from app.tabs import models as models_tab
from app.tabs import runs as runs_tab
from app.tabs import train as train_tab
from app.tabs.tasks import (
    classify,
    entities,
    fill_mask,
    image_labels,
    image_zero_shot,
    questions,
    sounds,
    speech,
    summarise,
    translate,
    zero_shot,
)
from app.workbench import Workbench
from core.errors import LaunchError
from core.modeling.devices import usable_device
from core.paths import assets_dir, data_dir

TEXT = (classify, entities, fill_mask, questions, translate, summarise, zero_shot)
VISION = (image_labels, image_zero_shot)
AUDIO = (speech, sounds)
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Consolas", "Noto Sans Mono", "monospace"]


def theme() -> Base:
    """One accent, system fonts, small radii; light and dark."""
    return Base(
        primary_hue="cyan", neutral_hue="slate", font=FONTS, font_mono=MONO, spacing_size="md", radius_size="sm", text_size="md"
    ).set(
        color_accent="#0e7490",
        button_primary_background_fill="#0e7490",
        button_primary_background_fill_dark="#0e7490",
        button_primary_background_fill_hover="#155e75",
        button_primary_background_fill_hover_dark="#155e75",
        button_primary_text_color="#ffffff",
        body_background_fill="#ffffff",
        body_background_fill_dark="#0f1419",
        block_background_fill_dark="#151b22",
        input_background_fill_dark="#1d2530",
        background_fill_secondary_dark="#1d2530",
        checkbox_label_background_fill_dark="#1d2530",
        checkbox_label_background_fill_hover_dark="#263140",
        button_secondary_background_fill_dark="#263140",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_shadow="none",
        body_text_color_subdued="#475569",
        input_placeholder_color="#475569",
        input_placeholder_color_dark="#94a3b8",
    )


def build(workbench: Workbench) -> gr.Blocks:
    """The page: its tabs, and the ways between them."""
    with gr.Blocks(title="Vitrine", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            f'<header class="vt-head"><h1>Vitrine</h1><p>Try a transformer, look inside it, fine-tune it: on this machine '
            f"({usable_device(None if workbench.device == 'auto' else workbench.device).type.upper()}).</p></header>",
            apply_default_css=False,
            padding=False,
        )
        pages: list[tuple[gr.Tab, Any]] = []
        # Of a task: its group, the group's tabs, its own tab, where its model is chosen
        homes: dict[str, tuple[str, gr.Tabs, str, Any]] = {}

        def add(tasks: tuple[Any, ...], group: str, row: gr.Tabs) -> None:
            for module in tasks:
                with gr.Tab(module.TASK.title, id=module.TASK.id) as at:
                    pages.append((at, task_page.build(workbench, module.TASK)))
                homes[module.TASK.task] = group, row, module.TASK.id, pages[-1][1].model

        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Text", id="text"), gr.Tabs(elem_id="text-tabs") as text_tabs:
                with gr.Tab("Chat", id="chat") as at_chat:
                    chat = chat_tab.build(workbench)
                with gr.Tab("Completion", id="completion") as at_completion:
                    completion = completion_tab.build(workbench)
                add(TEXT, "text", text_tabs)
                with gr.Tab("Embeddings", id="embeddings") as at_embeddings:
                    embeddings = embeddings_tab.build(workbench)
            with gr.Tab("Vision", id="vision"), gr.Tabs(elem_id="vision-tabs") as vision_tabs:
                add(VISION, "vision", vision_tabs)
            with gr.Tab("Audio", id="audio"), gr.Tabs(elem_id="audio-tabs") as audio_tabs:
                add(AUDIO, "audio", audio_tabs)
            homes["text-generation"] = "text", text_tabs, "chat", chat.model
            homes["feature-extraction"] = "text", text_tabs, "embeddings", embeddings.model
            with gr.Tab("Inspect", id="inspect") as at_inspect:
                lens = inspect_tab.build(workbench)
            with gr.Tab("Train", id="train") as at_train:
                train = train_tab.build(workbench)
            with gr.Tab("Runs", id="runs"):
                listed = runs_tab.build(workbench)
            with gr.Tab("Models", id="models"):
                shelf = models_tab.build(homes)

        def look_inside(talk: conversation.Talk, model: str) -> tuple[Any, ...]:
            words = "\n".join(message["content"] for message in conversation.messages(talk)[-2:])
            if not words.strip():
                return gr.skip(), gr.skip(), gr.skip(), "Send a message first: then its text can be looked into."
            return gr.Tabs(selected="inspect"), words, model, ""

        def look_into(shown: Callable[[Sequence[Any]], Any], field: str, model: str, *values: Any) -> tuple[Any, ...]:
            given = [shown(values) if name == field else None if name in ("image", "sound") else "" for name in lens.fields]
            return gr.Tabs(selected="inspect"), model, *given

        def to_chat() -> tuple[Any, Any]:
            return gr.Tabs(selected="text"), gr.Tabs(selected="chat")

        def chat_with(event: gr.EventData) -> tuple[Any, ...]:
            run = workbench.store.run(str(event.id))
            found = workbench.adapters(run["model"])
            folder = next((value for label, value in found if f"({run['id']})" in label), "")
            choices = [chat_tab.BASE, *found]
            said = f"Talking to {run['name']}, trained on {run['model']}."
            return *to_chat(), run["model"], gr.Dropdown(choices, value=folder), said

        def try_model(event: gr.EventData) -> dict[Any, Any]:
            group, row, own, model = homes[str(event.task)]
            picked = gr.Dropdown(workbench.model_names(str(event.task)), value=str(event.id))
            shown = {tabs: gr.Tabs(selected=group), row: gr.Tabs(selected=own), model: picked}
            return shown | {chat.said: f"Talking to {event.id}."} if model is chat.model else shown

        def choices(*tasks: str) -> Any:
            """The usable models of these tasks, as they are now: a fetched one is there without a new start."""

            def names(chosen: str | None) -> Any:
                found = list(dict.fromkeys(name for task in tasks for name in workbench.model_names(task)))
                # a value that is set is left alone: the person may have picked another meanwhile
                return gr.Dropdown(found) if chosen or not found else gr.Dropdown(found, value=found[0])

            return names

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        chat.inside.click(
            look_inside, [chat.kept, chat.model], [tabs, lens.fields["text"], lens.model, chat.said], **private
        ).then(lens.work, lens.inputs, lens.outputs, **private)
        for view in (train.view, listed.view):
            view.chat(chat_with, None, [tabs, text_tabs, chat.model, chat.adapter, chat.said], **private)
        shown = [tabs, text_tabs, vision_tabs, audio_tabs, chat.said, *(model for *_, model in homes.values())]
        shelf.view.pick(try_model, None, shown, **private)
        for at, one in pages:
            for event in (at.select, page.load):
                event(choices(one.task.task), one.model, one.model, **private)
            if one.task.looked_into is not None:
                one.inside.click(
                    partial(look_into, one.task.looked_into, one.task.looked_at),
                    [one.model, *one.inputs],
                    [tabs, lens.model, *lens.fields.values()],
                    **private,
                ).then(lens.work, lens.inputs, lens.outputs, **private)
        for at, widget, tasks in (
            (at_chat, chat.model, ("text-generation",)),
            (at_completion, completion.model, ("text-generation",)),
            (at_embeddings, embeddings.model, ("feature-extraction",)),
            (at_inspect, lens.model, inspect_tab.TASKS),
            (at_train, train.model, ("text-generation",)),
        ):
            for event in (at.select, page.load):
                event(choices(*tasks), widget, widget, **private)
        at_chat.select(chat.refresh, [chat.model, chat.adapter], chat.adapter, **private)
        # one event for all that may change what is shown, so that the newest wins: a slow look must not come after a later one
        changes = [at_train.select, *(widget.change for widget in train.seen)]
        gr.on(changes, train.show_data, train.seen, [train.about, train.strip], trigger_mode="always_last", **private)
        page.load(known_presets, None, [chat.choice, chat.said], **private)
        page.load(chat.display, chat.kept, [chat.chat, chat.versions], **private)
        page.load(chat.refresh, [chat.model, chat.adapter], chat.adapter, **private)
        page.load(train.newest, None, train.view, **private)
    return page


def routes(workbench: Workbench) -> list[Any]:
    """All routes of ours."""
    return [*attention.routes(workbench), *runs.routes(workbench), *models.routes(workbench)]


def port_of(text: str) -> int:
    """The number in GRADIO_SERVER_PORT. Raises LaunchError where it is no port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise LaunchError(f"GRADIO_SERVER_PORT is '{text}': it has to be a port from 1 to 65535.")
    return int(text)


def free_port(host: str, wanted: int) -> int:
    """The wanted port or the next free one of a hundred. Raises LaunchError where none is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(wanted, min(wanted + 100, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise LaunchError(f"No port from {wanted} on is free at {host}: choose another with --port.")


def credentials_for(auth: str | None, host: str, share: bool) -> Credentials | None:
    """Those named; a made password where others can reach the server; none on the machine itself. Raises LaunchError."""
    if auth:
        user, colon, password = auth.partition(":")
        if not colon or not user or not password:
            raise LaunchError("--auth wants USER:PASSWORD, both of them not empty.")
        return Credentials(user, password)
    if share or host not in LOOPBACK:
        return Credentials("vitrine", secrets.token_urlsafe(12))
    return None


def serve(args: Any) -> None:
    """Serve until Ctrl-C or a signal. A training goes on by itself."""
    host = args.listen or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    wanted = args.port or port_of(os.environ.get("GRADIO_SERVER_PORT") or "7860")
    credentials = credentials_for(args.auth, host, args.share)
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"):
        os.environ.pop(name, None)
    workbench = Workbench(args.device, args.dtype)
    page = build(workbench)
    workbench.watch()
    guard = Middleware(Guard, host=host, credentials=credentials, shared=args.share)
    queued = page.queue(default_concurrency_limit=4)
    queued._queue.sleep_when_free = 0.02  # looking for work a thousand times a second, as it is made, took 8% of a core all day
    settings: dict[str, Any] = dict(
        server_name=host,
        share=args.share,
        inbrowser=False,
        quiet=True,
        show_error=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        pwa=True,
        footer_links=[],
        theme=theme(),
        css_paths=[assets_dir() / "style.css"],
        head=script_tags("page"),
        favicon_path=assets_dir() / "icon.png",
        max_file_size="200mb",
        app_kwargs={"routes": routes(workbench), "middleware": [guard]},
    )
    for _ in range(5):  # another program may take the port between the look and the start
        try:
            port = free_port(host, wanted)
        except OSError as error:
            raise LaunchError(f"{host} is not an address of this machine: {error}.") from error
        try:
            _, url, shared = queued.launch(server_port=port, **settings)
            break
        except OSError:
            wanted = port + 1
    else:
        raise LaunchError(f"No port from {wanted} on stays free at {host}: choose another with --port.")
    shown = url if host not in ("0.0.0.0", "::") else f"http://{_lan_address()}:{port}/"
    if not args.quiet:
        print(f"device {usable_device(None if args.device == 'auto' else args.device)} · data in {data_dir()}")
    print(f"Vitrine is at {shown}" + (f" and {shared}" if shared else ""), flush=True)
    if credentials and not args.auth:
        print(f"name {credentials.user}, password {credentials.password}", flush=True)
    desktop = os.name == "nt" or sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not args.no_browser and (args.auto_launch or (desktop and sys.stdout.isatty())):
        webbrowser.open(shown)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    try:
        over.wait()
    except KeyboardInterrupt:
        pass
    workbench.close()
    page.close(verbose=False)


def _lan_address() -> str:
    """The address under which other machines most likely reach this one; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
