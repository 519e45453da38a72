"""timm and torchvision are imported without torch's compiler, and lose nothing by it."""

from __future__ import annotations

import subprocess
import sys

LIGHT = (
    "import sys, torch\n"
    "from bunryu.models.lazy_imports import import_timm, import_torchvision_models\n"
    "timm, models = import_timm(), import_torchvision_models()\n"
    "held = [name for name, module in sys.modules.items() if type(module).__name__ == '_Later']\n"
    "assert not held, held\n"
    "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules\n"
    "assert '_dynamo' not in vars(torch)\n"
)
NET = "net = timm.create_model('test_resnet').eval(); x = torch.zeros(1, 3, 32, 32)\n"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


USES = (
    "torch.testing.assert_close(torch.compile(net, backend='eager')(x), net(x))",
    "torch.optim.AdamW(net.parameters()).step()",
    "torch.export.export(net, (x,))",
    "assert sys.modules['torchvision.ops.roi_align'].is_compile_supported('cpu') in (True, False)",
)
EACH_FIRST = """
import os, traceback
for use in {uses!r}:
    child = os.fork()  # in which this use is the first, as in a process of its own
    if child == 0:
        try:
            exec(use)
            assert type(sys.modules['torch._dynamo']).__name__ == 'module'
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, use
"""


def test_what_needs_the_compiler_finds_it() -> None:
    python(f"{LIGHT}{NET}{EACH_FIRST.format(uses=USES)}")


def test_what_the_compiler_shall_leave_alone_is_left_alone() -> None:
    """A function that timm or torchvision marks while they are imported: its marking takes place when it is called."""
    python(
        "import sys, torch\n"
        "from bunryu.models import lazy_imports\n"
        "with lazy_imports._without_compiler():\n"
        "    import torchvision\n"
        "    @torch.compiler.disable(reason='for a test')\n"
        "    def compiling(x: torch.Tensor) -> bool:\n"
        "        return torch.compiler.is_compiling()\n"
        "    @torch.compiler.disable\n"
        "    def twice(x):\n"
        "        return x * 2\n"
        "assert 'sympy' not in sys.modules\n"
        "assert compiling.__name__ == 'compiling'\n"
        "def outer(x):\n"
        "    return twice(x) + 1, compiling(x)\n"
        "assert torch.compile(outer, backend='eager')(torch.ones(1)) == (3, False)\n"
        "assert 'sympy' in sys.modules\n"
    )


def test_a_name_that_is_not_known_is_fetched_at_once() -> None:
    python(
        "import sys, torch\n"
        "from bunryu.models import lazy_imports\n"
        "with lazy_imports._without_compiler():\n"
        "    from torch._dynamo.utils import counters\n"
        "    import torch._dynamo.config\n"
        "    assert torch._dynamo.reset\n"
        "assert type(sys.modules['torch._dynamo']).__name__ == 'module'\n"
        "assert torch._dynamo is sys.modules['torch._dynamo'] and torch._dynamo.utils.counters is counters\n"
    )
