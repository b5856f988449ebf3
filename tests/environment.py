"""Loaded before Django's settings (pyproject.toml, addopts): the environment of a test run."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("SECRET_KEY", "only-for-tests")
os.environ.pop("QUEUE_URL", None)
if "TEST_DATA_DIR" not in os.environ:  # the processes of one run share the controller's
    memory = "/dev/shm"  # where there is one: a test's database need not outlive the machine
    os.environ["TEST_DATA_DIR"] = tempfile.mkdtemp(
        prefix="commsportal-test-", dir=memory if os.access(memory, os.W_OK) else None
    )
    atexit.register(shutil.rmtree, os.environ["TEST_DATA_DIR"], ignore_errors=True)
os.environ["DATA_DIR"] = os.environ["TEST_DATA_DIR"]
# whitenoise warns about a missing folder, and warnings are errors.
os.makedirs(os.path.join(os.environ["DATA_DIR"], "static"), exist_ok=True)
