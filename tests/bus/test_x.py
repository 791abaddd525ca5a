def test_x(daemon, root):
    root.watch("type='signal',sender='org.appfwd1'")
    print(root.call("Grant","mozilla_t","10.0.0.5:3128",{}))
    print(root.call("Guard","10.0.0.5:3128",{}))
    print(root.call("List",{}))
    print(root.call("GetRules",{}))
    print(root.call("Explain", "mozilla_t","10.0.0.5:3128",{}))
    print(root.signals("Added"))
    print(daemon.state())
