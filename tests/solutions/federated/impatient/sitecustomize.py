"""Flower's processes ask for messages every 3 s; in the tests, ten times as often.

Python imports this module when it starts, if its folder is on PYTHONPATH.
"""

import time

sleep = time.sleep
time.sleep = lambda seconds: sleep(0.3 if seconds == 3 else seconds)
