"""Chat templates that loop for ever, build giant texts or reach outside: one clear error, in little time and memory."""

import time
import tracemalloc

import pytest

from core.errors import TokenizerError
from core.tokenization.templates import render

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
DOUBLED = "{% set n = namespace(x='ab' * 500) %}" + "{% set n.x = n.x ~ n.x %}" * 40 + "{{ n.x }}"
NESTED = "{% set n = namespace(x=[1]) %}" + "{% set n.x = [n.x, n.x] %}" * 40
GATHERED = "{% set n = namespace(x=[[1]]) %}" + "{% set n.x = (n.x * 2) | batch(2) | list %}" * 40
HELD = "{% set a = 'a' * 3000000 %}" + "".join(f"{{% set a{i} = a[1:] %}}" for i in range(60))
ENDLESS = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}{% for b in range(100000) if false %}{% endfor %}{% endfor %}",
    "{% for a in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% block a %}{{ self.a() }}{% endblock %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1, varargs, varargs) }}{% else %}{{ varargs }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set a = 'a' * 2000000 %}{% for i in range(200000) %}{% if a == a ~ '' or 'b' in a %}{% endif %}{% endfor %}",
    "{% for x in range(200000) %}{{ range(200000) | select('none') | list | length }}{% endfor %}",
    "{{ range(200000)" + " | map('int')" * 500 + " | list | length }}",
    "{% set a = 'a' * 1000000 %}{% for i in range(200000) %}{% if a.count('aaaab') %}{% endif %}{% endfor %}",
    "{% for i in range(200000) %}{% for m in messages | sort(attribute='role') | list %}{% endfor %}{% endfor %}",
    "{% for i in range(200000) %}{{ cycler('a', 'b').next() }}{{ dict(a=i) }}{% endfor %}",
    "{% for i in range(200000) %}" + "<a>{% if i %}{% endif %}" * 3000 + "{% endfor %}",
    NESTED + "{% if n.x == n.x[0] %}{% endif %}",
    GATHERED + "{{ n.x == GATHERED }}",
]
GIANT = [
    "{{ 'a' * 999999999 }}",
    "{{ 999999999 * 'a' }}",
    "{{ [1] * 999999999 }}",
    "{{ ('a' * 1000) * 1000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{% set n = namespace(x=2) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    DOUBLED,
    DOUBLED.replace("~", "+"),
    DOUBLED.replace("n.x ~ n.x", "[n.x, n.x] | join"),
    DOUBLED.replace("n.x ~ n.x", "''.join([n.x, n.x])"),
    DOUBLED.replace("n.x ~ n.x", "n.x | replace('a', 'aab')"),
    DOUBLED.replace("n.x ~ n.x", "n.x.replace('a', 'aab')"),
    DOUBLED.replace("n.x ~ n.x", "'%s%s' | format(n.x, n.x)"),
    DOUBLED.replace("n.x ~ n.x", "'%s%s' % (n.x, n.x)"),
    DOUBLED.replace("n.x ~ n.x", "'{0}{0}'.format(n.x)"),
    "{% set x = 'ab' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "{% set x %}{% for i in range(200000) %}" + "b" * 90_000 + "{% endfor %}{% endset %}",
    "{% for i in range(200000) %}" + "b" * 90_000 + "{% endfor %}",
    "{% for x in range(3000) %}{{ 'a' * 9999 }}{% endfor %}",
    HELD,
    HELD.replace("a[1:]", "a | upper"),
    HELD.replace("a[1:]", "a.lower()"),
    HELD.replace("a[1:]", "a | list"),
    HELD.replace("a[1:]", "(a, 1) | string"),
    NESTED + "{{ n.x }}",
    NESTED + "{{ n.x | tojson }}",
    NESTED + "{{ {'a': n.x}.values() }}",
    GATHERED + "{{ n.x }}",
    GATHERED + "{{ n.x | string | length }}",
    GATHERED + "{{ n.x | tojson | length }}",
    GATHERED + "{{ (n.x ~ '') | length }}",
    GATHERED + "{{ {'a': n.x}.values() }}",
    "{{ 'a' | center(999999999) }}",
    "{{ 'a'.center(999999999) }}{{ 'a'.zfill(999999999) }}",
    "{{ '\t'.expandtabs(999999999) }}",
    "{{ '\n' | indent(999999999, true) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ '%*d' | format(999999999, 1) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, 999999999) }}",
    "{{ messages | batch(999999999, 'x') | list | length }}",
    "{{ messages | slice(999999999) | list | length }}",
    "{{ 1.5 | round(999999999) }}{{ 1.5 | round(999999999, 'ceil') }}",
    "{{ messages | tojson(indent=999999999) }}",
    "{{ lipsum(1000000) }}",
    "{{ 'a'.encode().center(999999999) }}",
    "{{ 'aa'.translate({97: 'b' * 1000000}) }}",
    "{{ (5).to_bytes(999999999, 'big') }}",
    "{{ range(10 ** 9) | list }}",
    "{{ range(200000) | map('string') | map('center', 1000) | list | length }}",
    "{{ strftime_now('%Y' * 20000000) }}",
    "x" * 5_000_000,
]
OUTSIDE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.append(1) }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ (messages | attr('__class__')).mro() }}",
    "{% include 'a' %}",
    "{% import 'os' as o %}",
    "{% extends '/etc/passwd' %}",
]
BROKEN = [
    "{% for m in messages %}",
    "{{ raise_exception('no system\nrole') }}",
    "{{ (" * 300,
    "{{ " + "(" * 150 + "1" + ")" * 150 + " }}",
    "{{ " + "not " * 5000 + "1 }}",
    "{{ 1" + " + 1" * 5000 + " }}",
    "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{{ 1 // 0 }}",
    "{{ nothing.at.all }}",
    "{{ 'a' | nofilter }}",
    "{{ 'a' is notest }}",
    "{{ messages[0] + 1 }}",
    "{{ ('a' * 5000) | int * 'b' - 1 }}",
    "\x00{{",
]


@pytest.mark.parametrize("template", ENDLESS + GIANT + OUTSIDE + BROKEN, ids=lambda text: text[:50])
def test_refused_in_one_sentence(template: str) -> None:
    began = time.monotonic()
    with pytest.raises(TokenizerError, match="chat template") as caught:
        render(template, messages=MESSAGES)
    assert time.monotonic() - began < 5
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "template", [text for text in GIANT if NESTED not in text and GATHERED not in text], ids=lambda text: text[:50]
)
def test_refused_in_little_memory(template: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TokenizerError):
            render(template, messages=MESSAGES)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


def test_what_templates_do_still_works() -> None:
    """Everything that is priced gives what jinja2 gives."""
    template = (
        "{% set rest = messages[1:] %}{% set n = namespace(x='') %}{% for m in rest if m.content is string %}"
        "{% set n.x = n.x ~ loop.index ~ ':' ~ m['content'].split('l')[-1] ~ ('%s-%02d' | format(m.role, 7)) %}{% endfor %}{{ n.x }};"
        "{{ ['a', 'b'] | join(', ') }};{{ 'a-b'.replace('-', '+') | upper | center(7) }};{{ messages | map(attribute='role') | list }};"
        "{{ {'k': [1, 'é']} | tojson }};{{ 'user' in messages[0].values() and 'x' not in {'y': 1} and 1 < 2 == 2 }};"
        "{% for k, v in {'p': 1}.items() %}{{ k }}={{ v }}{% endfor %};{{ ('a', 2) }};{{ 'ab' * 2 + 'c' }};{{ '{}!'.format(2) }};"
        "{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }};{{ messages | selectattr('role', 'eq', 'user') | list | length }};"
        "{% set a, b = 1, 2 %}{{ a + b }};{{ 'abc'[::-1] }};{{ undefined_name }};{{ '%s' % 'x' }};{{ [3, 1] | sort | last }}"
    )
    assert render(template, messages=MESSAGES) == (
        "1:oassistant-07;a, b;  A+B  ;['user', 'assistant'];{\"k\": [1, \"é\"]};True;p=1;('a', 2);ababc;2!;321;1;3;cba;;x;3"
    )


def test_a_long_conversation_is_no_attack() -> None:
    chat = [{"role": "user" if i % 2 else "assistant", "content": "Many words of many turns. " * 40} for i in range(2000)]
    template = "{% for m in messages %}{% if m.role == 'user' and 'x' not in m.content %}[{{ m.content | trim }}]{% else %}{{ m.content }}{% endif %}{% endfor %}"
    assert len(render(template, messages=chat)) > 2_000_000
