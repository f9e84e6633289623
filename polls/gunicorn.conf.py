"""How gunicorn serves a tenant: threads, because sync workers close after each request."""

bind = "0.0.0.0:8000"
worker_class = "gthread"
workers = 2
threads = 4
# Loaded once, before the port opens: the workers share it, and who can connect is answered at once.
preload_app = True
# Workers prove to be alive by touching a file: in memory, for a disk under load can stall that.
worker_tmp_dir = "/dev/shm"
# Nobody steers it but the engine, by signals.
control_socket_disable = True
