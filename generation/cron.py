"""What `manage.py rqcron generation.cron` starts: the tick, every second, on a queue of its own."""

from rq import cron

from generation.jobs import tick

cron.register(tick, queue_name="tick", interval=1, result_ttl=0, job_timeout=30)
