"""The program inside the guest: runs what the host asks for, over a virtio-serial port.

It is unconfined, and acts for any domain by giving its sockets that domain's label.
"""
