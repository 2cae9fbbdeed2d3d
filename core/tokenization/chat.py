"""Conversations -> text or ids, by a tokenizer's chat template."""

from typing import Any

from core.errors import TokenizerError, printable
from core.tokenization.templates import render, render_marked
from core.tokenization.tools import schema_of

OPEN_END = "\ue0fc-the-message-goes-on-\ue0fd "  # stands where a continued message ends until the text is cut there


class Chat:
    """The part of a tokenizer that knows its chat templates."""

    special_tokens_map: Any
    chat_templates: dict[str, str]

    def _take_chat_templates(self, value: Any) -> None:
        """One template, or several by name: as a list of {"name", "template"} or as a dictionary. Raises TokenizerError."""
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            value = {str(entry.get("name")): entry.get("template") for entry in value}
        found: dict[str, Any] = value if isinstance(value, dict) else {} if value is None else {"default": value}
        if not all(isinstance(template, str) for template in found.values()):
            raise TokenizerError("The chat_template is neither a text nor several texts by name.")
        self.chat_templates = dict(found)

    @property
    def chat_template(self) -> str | None:
        """The default template."""
        return self.chat_templates.get("default")

    @chat_template.setter
    def chat_template(self, template: Any) -> None:
        self._take_chat_templates(template)

    def get_chat_template(self, chat_template: str | None = None, tools: list[Any] | None = None) -> str:
        """The template given, by text or by name; else the one for tools where there are tools; else the default."""
        if chat_template is not None:
            return self.chat_templates.get(chat_template, chat_template)
        if tools is not None and "tool_use" in self.chat_templates:
            return self.chat_templates["tool_use"]
        if found := self.chat_template:
            return found
        if self.chat_templates:
            raise TokenizerError(
                f"This tokenizer has no default chat template; name one: {', '.join(sorted(self.chat_templates))}."
            )
        raise TokenizerError("This tokenizer has no chat template: give chat_template, or use a model made for chat.")

    def apply_chat_template(
        self,
        conversation: Any,
        tools: list[Any] | None = None,
        documents: list[dict[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = False,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: dict[str, Any] | None = None,
        **values: Any,
    ) -> Any:
        """Messages [{"role", "content"}], or a batch of such, -> text (tokenize=False), ids, or a BatchEncoding (return_dict).

        tools: JSON schemas, or Python functions with typed arguments and a docstring. Raises TokenizerError where there is no template
        or it refuses the messages.
        """
        template = self.get_chat_template(chat_template, tools)
        if not isinstance(conversation, list | tuple) or not conversation:
            raise TokenizerError("A conversation is a list of messages with at least one message.")
        if continue_final_message and add_generation_prompt:
            raise TokenizerError(
                "A message cannot be continued and a new one begun: give one of continue_final_message, add_generation_prompt."
            )
        schemas = None if tools is None else [tool if isinstance(tool, dict) else schema_of(tool) for tool in tools]
        given = {"tools": schemas, "documents": documents, "add_generation_prompt": add_generation_prompt}
        context = {**self.special_tokens_map, **given, **values}
        batched = isinstance(conversation[0], list | tuple)
        chats = [_checked(chat) for chat in (conversation if batched else [conversation])]
        texts, spans = [], []
        for chat in chats:
            if continue_final_message:
                texts.append(_cut(render(template, messages=_left_open(chat), **context)))
            else:
                text, found = render_marked(template, messages=chat, **context)
                texts.append(text)
                spans.append(found)
        if not tokenize:
            return texts if batched else texts[0]
        options = {"padding": padding, "truncation": truncation, "max_length": max_length, **(tokenizer_kwargs or {})}
        plain = not batched and return_tensors is None
        out = self(texts[0] if plain else texts, add_special_tokens=False, **options)  # type: ignore[operator]
        if return_assistant_tokens_mask:
            masks = [
                _mask(encoding, found) if found else self._mask_without_marks(chat, encoding)
                for chat, encoding, found in zip(chats, out.encodings, spans, strict=True)
            ]
            out["assistant_masks"] = masks[0] if plain else masks
        out.convert_to_tensors(return_tensors)
        return out if return_dict else out["input_ids"]

    def _mask_without_marks(self, chat: list[dict[str, Any]], encoding: Any) -> list[int]:
        """For a template without {% generation %}: rendered turn by turn."""
        from core.tokenization.loss_mask import assistant_characters

        return _mask(encoding, assistant_characters(self, chat)[1])


def _checked(chat: Any) -> list[dict[str, Any]]:
    """The messages without the keys that say None."""
    for message in chat:
        if not isinstance(message, dict) or "role" not in message:
            raise TokenizerError(f"A message is a dictionary with role and content, not {printable(repr(message), 80)}.")
    return [{key: value for key, value in message.items() if value is not None} for message in chat]


def _left_open(chat: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with a mark at the end of the last one's text."""
    content = chat[-1].get("content")
    if isinstance(content, str):
        return [*chat[:-1], {**chat[-1], "content": content + OPEN_END}]
    parts = list(content) if isinstance(content, list) else []
    for i in reversed(range(len(parts))):
        if isinstance(parts[i], dict) and isinstance(parts[i].get("text"), str):
            parts[i] = {**parts[i], "text": parts[i]["text"] + OPEN_END}
            return [*chat[:-1], {**chat[-1], "content": parts}]
    raise TokenizerError("The last message has no text that could be continued.")


def _cut(text: str) -> str:
    """Up to the mark; a template that trims messages trims this one too."""
    at = text.rfind(OPEN_END.strip())
    if at < 0:
        raise TokenizerError("The chat template leaves out the last message's text, so it cannot be continued.")
    return text[:at] if text.startswith(OPEN_END, at) else text[:at].rstrip()


def _mask(encoding: Any, spans: list[tuple[int, int]]) -> list[int]:
    """1 on the tokens of an encoding that touch one of the spans of characters."""
    return [int(any(start < high and end > low for low, high in spans)) for start, end in encoding.offsets]
